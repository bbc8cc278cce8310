() => {
  // Ctrl-V takes a picture from the clipboard, wherever the keyboard is, while one can be chosen.
  document.addEventListener("paste", (event) => {
    const picture = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
    const chooser = document.querySelector("#upload input[type=file]");
    if (!picture || !chooser) return;
    event.preventDefault();
    const files = new DataTransfer();
    files.items.add(picture);
    chooser.files = files.files;
    chooser.dispatchEvent(new Event("change", { bubbles: true }));
  });
};
