// Mark the lines of code of the equation under the mouse or the focus, and the equations of a line.
addEventListener("DOMContentLoaded", () => {
  const tagged = [...document.querySelectorAll("[data-tags]")];
  const tagsOf = (element) => element?.dataset.tags.split(" ") ?? [];

  const mark = (event) => {
    const here = event.target.closest("[data-tags]");
    const wanted = tagsOf(here);
    for (const element of tagged) {
      const partner = tagsOf(element).some((tag) => wanted.includes(tag));
      element.classList.toggle("marked", partner && !element.matches("a"));
    }
  };
  for (const kind of ["mouseover", "focusin"]) addEventListener(kind, mark);
  addEventListener("focusout", () => tagged.forEach((element) => element.classList.remove("marked")));
});
