// Gradio's slider is dragged by the mouse alone: this makes its handle a control that arrow keys move.
const STEP = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };

function drag(handle, share) {
  const image = handle.parentElement.querySelector("img").getBoundingClientRect();
  const at = { clientX: image.left + share * image.width, clientY: image.top + image.height / 2 };
  const event = (kind) => new MouseEvent(kind, { ...at, view: window, bubbles: true, cancelable: true });
  handle.dispatchEvent(event("mousedown"));
  window.dispatchEvent(event("mousemove"));
  window.dispatchEvent(event("mouseup"));
  tell(handle);
}

function position(handle) {
  const image = handle.parentElement.querySelector("img").getBoundingClientRect();
  const own = handle.getBoundingClientRect();
  return Math.min(Math.max((own.left + own.width / 2 - image.left) / image.width, 0), 1);
}

function tell(handle) {
  handle.setAttribute("aria-valuenow", Math.round(100 * position(handle)));
}

function adopt(handle) {
  const said = { role: "slider", tabindex: "0", "aria-label": "Where left and right meet, in percent" };
  const range = { "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "50" };
  for (const [name, value] of Object.entries({ ...said, ...range })) handle.setAttribute(name, value);
  handle.addEventListener("pointerup", () => tell(handle));
  handle.addEventListener("keydown", (pressed) => {
    if (!(pressed.key in STEP)) return;
    pressed.preventDefault();
    drag(handle, Math.min(Math.max(position(handle) + STEP[pressed.key], 0), 1));
  });
}

new MutationObserver(() => {
  for (const handle of document.querySelectorAll("#slider [data-testid=slider]:not([tabindex])")) adopt(handle);
}).observe(document, { childList: true, subtree: true });
