// Enlarges an image in the page: tile by tile, so that memory does not grow with the image, and the page stays alive.

// LR pixels: a GPU is kept busy by large tiles, without one the page waits for each.
const TILE = { webgpu: 512, wasm: 128 };

const element = (id) => document.getElementById(id);
const say = (text) => (element("status").textContent = text);

/** Tiles that cover an image once, in LR pixels: `start` to `stop` is kept of what is seen, `first` to `last`.
 *
 * What is seen reaches `reach` pixels further, as far as the network sees, and begins and ends at multiples of
 * `multiple` or at the edge of the image. */
export function cover(width, height, side, reach, multiple) {
  const rows = segments(height, side, reach, multiple);
  const columns = segments(width, side, reach, multiple);
  return rows.flatMap((row) => columns.map((column) => ({ row, column })));
}

function segments(length, side, reach, multiple) {
  const made = [];
  for (let start = 0; start < length; start += side) {
    const stop = Math.min(start + side, length);
    const first = Math.floor(Math.max(start - reach, 0) / multiple) * multiple;
    const last = Math.min(Math.ceil((stop + reach) / multiple) * multiple, length);
    made.push({ start, stop, first, last });
  }
  return made;
}

/** RGBA pixels of 8 bits -> planes of red, green and blue in [0, 1]. */
function toPlanes(pixels) {
  const size = pixels.length / 4;
  const planes = new Float32Array(3 * size);
  for (let colour = 0; colour < 3; colour++)
    for (let i = 0; i < size; i++) planes[colour * size + i] = pixels[4 * i + colour] / 255;
  return planes;
}

/** The part of the network's image that a tile keeps, as opaque pixels: the array rounds and clamps. */
function toPixels(planes, [, , height, width], top, left, rows, columns) {
  const pixels = new Uint8ClampedArray(4 * rows * columns).fill(255);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++)
      for (let colour = 0; colour < 3; colour++)
        pixels[4 * (y * columns + x) + colour] =
          255 * planes[(colour * height + top + y) * width + left + x];
  return new ImageData(pixels, columns, rows);
}

async function enlargeTile({ runtime, session, about }, source, target, { row, column }) {
  const { scale } = about;
  const [height, width] = [row.last - row.first, column.last - column.first];
  const seen = source.getImageData(column.first, row.first, width, height).data;
  const input = new runtime.Tensor("float32", toPlanes(seen), [1, 3, height, width]);
  const { output } = await session.run({ input });
  const [top, left] = [scale * (row.start - row.first), scale * (column.start - column.first)];
  const [rows, columns] = [scale * (row.stop - row.start), scale * (column.stop - column.start)];
  const kept = toPixels(output.data, output.dims, top, left, rows, columns);
  target.putImageData(kept, scale * column.start, scale * row.start);
}

/** The image of a file on a canvas of its own. */
async function read(file) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} is not an image that this browser reads: choose a PNG or JPEG file.`);
  });
  const context = sized(document.createElement("canvas"), image.width, image.height);
  context.fillStyle = "white";
  context.fillRect(0, 0, image.width, image.height);
  context.drawImage(image, 0, 0);
  image.close();
  return context;
}

/** The canvas in this size. Browsers limit it, and show that only by pixels that stay empty. */
function sized(canvas, width, height) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context?.fillRect(0, 0, 1, 1);
  if (context?.getImageData(0, 0, 1, 1).data[3] !== 255)
    throw new Error(`${width}x${height} pixels are too many for this browser: use hkdsr upscale.`);
  return context;
}

async function enlarge(network, file, signal) {
  const { about, backend } = network;
  const source = await read(file);
  const { width, height } = source.canvas;
  const target = sized(element("result"), about.scale * width, about.scale * height);
  const tiles = cover(width, height, TILE[backend], about.reach, about.multiple);
  element("progress").max = tiles.length;
  for (const [done, tile] of tiles.entries()) {
    element("progress").value = done;
    say(`Tile ${done + 1} of ${tiles.length}`);
    await new Promise((shown) => setTimeout(shown));
    signal.throwIfAborted();
    await enlargeTile(network, source, target, tile);
  }
  signal.throwIfAborted();
  const png = await new Promise((made) => target.canvas.toBlob(made, "image/png"));
  if (!png) throw new Error("There is not enough memory for the PNG file: choose a smaller image.");
  const link = element("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(png);
  link.download = `${file.name.replace(/\.[^.]*$/, "")}_x${about.scale}.png`;
  say(`${width}x${height} became ${target.canvas.width}x${target.canvas.height}.`);
}

/** Enlarge, and show what is there to see meanwhile and afterwards. */
async function work(network, file, signal) {
  const show = (busy, made) => {
    element("work").hidden = !busy;
    element("result").hidden = !busy && !made;
    element("download").hidden = !made;
  };
  show(true, false);
  let made = false;
  try {
    signal.throwIfAborted();
    await enlarge(network, file, signal);
    made = true;
  } catch (error) {
    say(signal.aborted ? "Cancelled." : error.message);
  }
  show(false, made);
}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing beside this page: copy the whole folder.`);
  return answer;
}

/** The network on the GPU where the browser offers one, else on the CPU. */
async function open() {
  const about = await (await fetched("model.json")).json();
  const model = await (await fetched("model.onnx")).arrayBuffer();
  await requireSame(model, about.sha256["model.onnx"]);
  const backends = (await navigator.gpu?.requestAdapter()) ? ["webgpu", "wasm"] : ["wasm"];
  let failure;
  for (const backend of backends) {
    try {
      const runtime = await import(`./runtime/ort.${backend}.bundle.min.mjs`);
      const session = await runtime.InferenceSession.create(model, { executionProviders: [backend] });
      return { about, backend, runtime, session };
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`The folder "runtime" is missing or incomplete (${failure.message}): ${about.install}`);
}

/** Browsers compute hashes on https and on this computer only; elsewhere the model is not checked. */
async function requireSame(model, sha256) {
  if (!crypto.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", model));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw new Error("model.onnx is not the file that model.json describes: copy the whole folder.");
}

/** One image after the other: a new one ends the work on the one before. */
function listen(network) {
  let controller = new AbortController();
  let last = Promise.resolve();
  const start = (file) => {
    if (!file) return;
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    last = last.then(() => work(network, file, signal));
  };
  const drop = element("drop");
  element("file").addEventListener("change", (event) => start(event.target.files[0]));
  element("cancel").addEventListener("click", () => controller.abort());
  for (const type of ["dragenter", "dragover", "dragleave", "drop"])
    document.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", type === "dragenter" || type === "dragover");
      if (type === "drop") start(event.dataTransfer.files[0]);
    });
}

try {
  const network = await open();
  const { about, backend } = network;
  document.title = `Enlarge an image x${about.scale}`;
  element("title").textContent = document.title;
  element("note").hidden = !about.sees_all;
  listen(network);
  say(backend === "webgpu" ? "Ready: the GPU computes." : "Ready: the CPU computes, as there is no WebGPU.");
} catch (error) {
  say(error.message);
}
