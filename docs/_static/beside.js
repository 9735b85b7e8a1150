// Hovering or focusing an equation marks its lines of code, and a line marks its equations.
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
