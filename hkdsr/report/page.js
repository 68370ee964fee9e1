for (const comparison of document.querySelectorAll(".comparison")) {
  const stage = comparison.querySelector(".stage");
  const range = stage.querySelector("input");
  const frames = comparison.querySelector("[data-frames]");
  const selects = comparison.querySelectorAll("select");

  const show = () => {
    for (const select of selects) {
      const side = select.dataset.side;
      for (const image of stage.querySelectorAll("img")) {
        image.classList.toggle(side, image.dataset.label === select.value);
      }
      stage.querySelector(`.tag.${side}`).textContent = select.value;
    }
    stage.style.setProperty("--split", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % ${selects[0].value}`);
    stage.classList.toggle("unmarked", !frames.checked);
  };

  comparison.addEventListener("input", show);
  show();
}
