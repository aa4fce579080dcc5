() => {
  // Gradio's text box has no list of suggestions of its own: tie it to the datalist of the page.
  const tie = () => {
    const list = document.getElementById("known-words");
    const boxes = document.querySelectorAll("#words input, #words textarea, #first input, #second input");
    boxes.forEach((box) => { if (list) box.setAttribute("list", "known-words"); });
    if (!list || boxes.length === 0) setTimeout(tie, 200);
  };
  tie();
  document.documentElement.lang = "en";
}
