"""The web page of the editor, made with Gradio: components, what happens on a click, and what a visitor's session holds."""
