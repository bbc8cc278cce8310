// A row of pictures to choose from: the examples, or the edits of this session.
const list = element.querySelector(".strip");

function make(name, properties = {}, children = []) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function load() {
  const items = props.value ?? [];
  list.replaceChildren(
    ...items.map(({ rendition, title, detail }, index) => {
      const words = make("span", { className: "words" }, [make("b", { textContent: title }), make("small", { textContent: detail })]);
      const button = make("button", { type: "button" }, [make("img", { src: rendition, alt: "" }), words]);
      button.addEventListener("click", () => trigger("choose", { index }));
      return make("li", {}, [button]);
    }),
  );
}

watch("value", load);
load();
