// The results: a card each, with a slider between before and after, and a button that downloads it.
const list = element.querySelector(".cards");
let isDone = false; // whether the first card was a result when they were last shown

function make(name, properties = {}, children = []) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function slider(before, card, number) {
  const after = make("img", { src: card.rendition, alt: card.alt, className: "after" });
  const figure = make("div", { className: "compare" }, [make("img", { src: before, alt: "" }), after]);
  const range = make("input", { type: "range", min: 0, max: 100, value: 50, step: 1, className: "cut" });
  range.setAttribute("aria-label", `Before and after of result ${number}`);
  const move = () => figure.style.setProperty("--cut", `${range.value}%`);
  range.addEventListener("input", move);
  move();
  figure.append(make("span", { className: "tag left", textContent: "Before" }));
  figure.append(make("span", { className: "tag right", textContent: "After" }), make("span", { className: "line" }), range);
  return figure;
}

function show(before, card, index) {
  if (card.preview) {
    const preview = make("div", { className: "compare preview" }, [make("img", { src: card.rendition, alt: card.alt })]);
    return make("li", { className: "card" }, [preview, make("p", { className: "title", textContent: card.title })]);
  }
  const download = make("button", { type: "button", className: "download", textContent: "Download" });
  download.setAttribute("aria-label", `Download result ${index + 1}`);
  download.addEventListener("click", () => trigger("download", { index }));
  const foot = make("div", { className: "foot" }, [make("p", { className: "title", textContent: card.title }), download]);
  return make("li", { className: "card" }, [slider(before, card, index + 1), foot]);
}

function load() {
  const { before, cards = [], columns = 1, ratio = 1 } = props.value ?? {};
  list.style.setProperty("--columns", columns);
  list.style.setProperty("--ratio", ratio);
  list.toggleAttribute("data-one", cards.length === 1);
  list.toggleAttribute("data-many", cards.length > 1 && columns === 1);
  list.replaceChildren(...cards.map((card, index) => show(before, card, index)));

  const wasDone = isDone;
  isDone = cards.length > 0 && !cards[0].preview;
  if (isDone && !wasDone) requestAnimationFrame(() => list.firstElementChild?.scrollIntoView({ block: "nearest" }));
}

watch("value", load);
load();
