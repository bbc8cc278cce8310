// A key presses the first of its buttons that the page has; keys typed into a text field are text.
const BUTTONS = {
  k: ["keep"], d: ["drop"], u: ["undo"],
  ArrowLeft: ["left", "previous"], ArrowDown: ["same"], ArrowRight: ["right", "next"],
};
const FIELDS = { e: "prompt", r: "remark" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const field = event.target.closest("input, textarea, [contenteditable]");
  if (field) {
    if (event.key === "Escape" || (event.key === "Enter" && field.closest("#remark"))) field.blur();
    else if (event.key === "Enter" && field.closest("#prompt")) setTimeout(() => field.blur());  // after it is submitted
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;  // with caps lock too
  const button = (BUTTONS[key] ?? []).map((name) => document.getElementById(name)).find(Boolean);
  const text = document.querySelector(`#${FIELDS[key]} textarea, #${FIELDS[key]} input`);
  if (button) button.click();
  else if (text) { text.focus(); text.select(); }
  else if (key === "m") document.body.classList.toggle("bare");
  else return;
  event.preventDefault();
});
