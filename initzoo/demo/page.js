() => {
  // What the components lack: suggestions for the boxes of words, and names for those who cannot see.
  const set = (one, name, value) => {
    if (one.getAttribute(name) !== value) one.setAttribute(name, value);
  };
  const mend = () => {
    document.querySelectorAll("#words input, #first input, #second input").forEach((box) => {
      set(box, "list", "known-words");
    });
    document.querySelectorAll("button.thumbnail-item").forEach((picture) => {
      const caption = picture.querySelector(".caption-label");
      if (caption) set(picture, "aria-label", caption.textContent.trim());
    });
    ["#picture", "#blended"].forEach((slider) => {
      document.querySelectorAll(`${slider} img`).forEach((picture, place) => {
        set(picture, "alt", place === 0 ? "the photo before" : "the photo after");
      });
    });
  };
  // Tabs are drawn when they are first opened, and pictures come and go.
  let isDue = false;
  const later = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => { isDue = false; mend(); });
  };
  new MutationObserver(later).observe(document.body, { childList: true, subtree: true });
  mend();
  document.documentElement.lang = "en";
}
