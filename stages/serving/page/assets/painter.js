// The picture with its mask. The mask is a layer of tinted pixels; brush and eraser work on it, by pointer or by keyboard.
const picture = element.querySelector("img");
const canvas = element.querySelector("canvas");
const ring = element.querySelector(".ring");
const hint = element.querySelector(".hint");
const size = element.querySelector("input[type=range]");
const tools = [...element.querySelectorAll("[data-tool]")];
const undo = element.querySelector("[data-action=undo]");
const clear = element.querySelector("[data-action=clear]");
const context = canvas.getContext("2d", { willReadFrequently: true });
const UNDO_STEPS = 20;
const BRUSH = "rgb(124, 92, 255)";
let tool = matchMedia("(pointer: coarse)").matches ? null : "brush"; // a finger scrolls the page until it takes a tool
let past = [];
let last = null; // where the stroke is, in pixels of the layer
let cursor = null; // where the keyboard's brush is

function isBlank() {
  return !context.getImageData(0, 0, canvas.width, canvas.height).data.some((value, index) => index % 4 === 3 && value > 127);
}

function describe() {
  const { layer, mended, drafted } = props.value ?? {};
  hint.textContent = mended
    ? "Your mask: the picture changes only here."
    : layer
      ? "Where the words were found. Paint to mend it."
      : "The place is found by the words. Paint to say it yourself.";
  element.dataset.layer = mended ? "mended" : layer ? "found" : "none";
  element.toggleAttribute("data-drafted", Boolean(drafted));
  undo.disabled = past.length === 0;
  clear.disabled = !layer;
}

function report() {
  const blank = isBlank();
  props.value = { ...props.value, layer: blank ? null : canvas.toDataURL("image/png"), mended: !blank };
  describe();
}

function remember() {
  past.push(context.getImageData(0, 0, canvas.width, canvas.height));
  past = past.slice(-UNDO_STEPS);
}

function choose(name) {
  tool = name;
  tools.forEach((each) => each.setAttribute("aria-pressed", each.dataset.tool === name));
  canvas.style.touchAction = name ? "none" : "auto";
  canvas.classList.toggle("painting", Boolean(name));
}

function stroke(from, to) {
  context.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
  context.strokeStyle = BRUSH;
  context.lineWidth = Number(size.value);
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y + 0.01); // a line of no length would draw nothing in some browsers
  context.stroke();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

function showRing(at) {
  ring.hidden = !at || !tool;
  if (ring.hidden) return;
  const scale = canvas.getBoundingClientRect().width / canvas.width;
  const width = Number(size.value) * scale;
  Object.assign(ring.style, { width: `${width}px`, height: `${width}px`, left: `${at.x * scale}px`, top: `${at.y * scale}px` });
}

canvas.addEventListener("pointerdown", (event) => {
  if (!tool || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  remember();
  last = place(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  const at = place(event);
  showRing(at);
  if (!last) return;
  stroke(last, at);
  last = at;
});
["pointerup", "pointercancel"].forEach((name) =>
  canvas.addEventListener(name, () => {
    if (!last) return;
    last = null;
    report();
  }),
);
canvas.addEventListener("pointerleave", () => showRing(null));
canvas.addEventListener("blur", () => showRing(null));

canvas.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    event.preventDefault(); // the browser would take back what was typed last, in the prompt
    return undo.click();
  }
  const step = event.shiftKey ? 40 : 10;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (!(event.key in moves) && event.key !== " ") return;
  event.preventDefault();
  if (!tool) choose("brush");
  const from = cursor ?? { x: canvas.width / 2, y: canvas.height / 2 };
  const [x, y] = moves[event.key] ?? [0, 0];
  cursor = {
    x: Math.min(canvas.width, Math.max(0, from.x + x)),
    y: Math.min(canvas.height, Math.max(0, from.y + y)),
  };
  if (event.key === " ") {
    remember();
    stroke(cursor, cursor);
    report();
  }
  showRing(cursor);
});

tools.forEach((each) => each.addEventListener("click", () => choose(tool === each.dataset.tool ? null : each.dataset.tool)));
undo.addEventListener("click", () => {
  if (!past.length) return;
  context.putImageData(past.pop(), 0, 0);
  report();
});
clear.addEventListener("click", () => {
  remember();
  context.clearRect(0, 0, canvas.width, canvas.height);
  report();
});

async function load() {
  const { rendition, width, height, layer } = props.value ?? {};
  if (!rendition) return;
  if (picture.src !== rendition) picture.src = rendition;
  canvas.width = width; // clears it, too
  canvas.height = height;
  element.querySelector(".stage").style.setProperty("--ratio", width / height);
  past = [];
  last = cursor = null;
  describe();
  if (!layer) return;
  const image = new Image();
  image.src = layer;
  await image.decode();
  context.globalCompositeOperation = "source-over";
  context.drawImage(image, 0, 0);
}

watch("value", load);
choose(tool);
load();
