// One image, large, with what Rekognition saw in it.

import { get, picture, thumbnail } from "./api.js";
import { bytes, h, moment, number, problem, styled } from "./dom.js";
import { result } from "./search.js";
import { go, link, quoted, read, searchLink } from "./state.js";

const COLOURS = 8;
const dialog = document.getElementById("image");
let shown = null;
let running = new AbortController();

dialog.addEventListener("close", () => {
  if (read().image) go({ image: null, boxes: null });
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && !event.target.matches("input")) follow(step);
});

export function closeImage() {
  running.abort();
  shown = null;
  if (dialog.open) dialog.close();
}

export async function showImage(state) {
  if (shown?.key === state.image) return drawBoxes(state);
  running.abort();
  running = new AbortController();
  const { signal } = running;
  shown = { key: state.image };
  dialog.replaceChildren(bar("Loading…"), h("div", { class: "body" }));
  if (!dialog.open) dialog.showModal();
  try {
    const [image] = await Promise.all([get("image", { key: state.image }, signal), result.ready]);
    if (signal.aborted) return;
    shown = { key: state.image, image, ...build(image) };
    dialog.setAttribute("aria-label", image.name);
    dialog.replaceChildren(bar(image.name), shown.body);
    dialog.querySelector(".close").focus();
    drawBoxes(read());
  } catch (error) {
    if (error.name !== "AbortError") dialog.querySelector(".body").replaceChildren(problem(error));
    return;
  }
  showSimilar(shown, signal);
}

function bar(title) {
  const place = result.images.findIndex((image) => image.key === shown.key);
  const step = (by, name, sign) =>
    h("button", { type: "button", class: "quiet", "aria-label": name, title: name, disabled: !result.images[place + by] || place < 0,
      onclick: () => follow(by) }, sign);
  return h(
    "div",
    { class: "bar" },
    h("h2", {}, title),
    step(-1, "Previous image", "←"),
    step(1, "Next image", "→"),
    h("button", { type: "button", class: "quiet close", "aria-label": "Close", title: "Close", onclick: () => dialog.close() }, "✕"),
  );
}

function follow(step) {
  const place = result.images.findIndex((image) => image.key === shown?.key);
  const next = place < 0 ? null : result.images[place + step];
  if (next) go({ image: next.key, boxes: null }, { replace: true });
}

function build(image) {
  const boxes = h("div", { class: "boxes" });
  const frame = styled(
    h("div", { class: "frame" }, h("img", { src: picture(image), alt: image.labels.slice(0, 5).map((label) => label.name).join(", ") }), boxes),
    { width: image.width, height: image.height },
  );
  const located = image.labels.filter((label) => label.boxes.length);
  const colours = new Map(located.map((label, index) => [label.name, index % COLOURS]));
  const similar = h("section", { class: "similar", hidden: true });
  const body = h(
    "div",
    { class: "body" },
    h("div", { class: "stage" }, frame),
    h(
      "aside",
      {},
      h("section", {}, h("h3", {}, "Labels"),
        image.labels.length
          ? h("ul", { class: "labels" }, image.labels.map((label) => row(label, colours)))
          : h("p", { class: "faint" }, "Rekognition saw nothing that it has a name for.")),
      h("section", {}, h("h3", {}, "Picture"), facts(image)),
      similar,
    ),
  );
  return { body, boxes, colours, similar };
}

function row(label, colours) {
  const colour = colours.get(label.name);
  const parents = label.parents.length ? `in ${label.parents.join(", ")}` : label.categories.join(", ");
  const also = label.aliases.length ? `also ${label.aliases.join(", ")}` : "";
  const name = h("a", { href: searchLink(quoted(label.name)), title: `All images with ${label.name}` }, label.name);
  const located = label.boxes.length;
  return styled(
    h(
      "li",
      {},
      located
        ? h("input", { type: "checkbox", class: `colour-${colour}`, "aria-label": `Show where: ${label.name}`, value: label.name, onchange: choose })
        : h("span"),
      h("span", {}, name, located > 1 && h("span", { class: "faint" }, ` × ${located}`),
        (parents || also) && h("span", { class: "faint parents" }, [parents, also].filter(Boolean).join("; "))),
      h("span", { class: "confidence" }, `${label.confidence.toFixed(1)} %`),
    ),
    { share: label.confidence / 100 },
  );
}

function facts(image) {
  const query = (text) => searchLink(text);
  const place = image.latitude === null ? null : `${image.longitude.toFixed(5)},${image.latitude.toFixed(5)}`;
  const rows = [
    ["Photographer", image.photographer && h("a", { href: query(`photographer:${JSON.stringify(image.photographer)}`) }, image.photographer)],
    ["Artist", image.artist],
    ["Taken", moment(image.taken_at)],
    ["Place", place && h("a", { href: query(`near:${place},5`), title: "Images within 5 km" }, place.replace(",", ", "))],
    ["Camera", image.camera],
    ["Size", `${number.format(image.width)} × ${number.format(image.height)}, ${image.format}, ${bytes(image.bytes)}`],
    ["Source", image.source_url?.startsWith("https://") && h("a", { href: image.source_url, target: "_blank", rel: "noopener noreferrer", "data-leave": true }, new URL(image.source_url).host)],
    ["Ingested", h("a", { href: query(`day:${image.day}`) }, image.day)],
    ["DAG run", h("a", { href: `../dags/${encodeURIComponent(image.dag)}/runs/${encodeURIComponent(image.run)}`, "data-leave": true }, image.run)],
    ["Label model", image.model],
    ["Key in S3", h("code", {}, image.key)],
    ["File", h("a", { href: `${picture(image)}?original=true`, download: image.name, "data-leave": true }, "Download the original")],
  ];
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** The labels whose boxes are drawn: those that the address names, else those that were asked for, else all. */
function chosen({ boxes }) {
  if (boxes.length) return new Set(boxes);
  const located = shown.image.labels.filter((label) => label.boxes.length);
  const asked = located.filter((label) => [label.name, ...label.aliases].some((name) => result.labels.includes(name)));
  return new Set((asked.length ? asked : located).map((label) => label.name));
}

function choose() {
  const names = [...dialog.querySelectorAll("input:checked")].map((box) => box.value);
  go({ boxes: names.length ? names : ["none"] }, { replace: true });
}

function drawBoxes(state) {
  if (!shown.image) return;
  const names = chosen(state);
  for (const box of dialog.querySelectorAll(".labels input")) box.checked = names.has(box.value);
  shown.boxes.replaceChildren(
    ...shown.image.labels.filter((label) => names.has(label.name)).flatMap((label) =>
      label.boxes.map((box) =>
        styled(
          h("div", { class: `box colour-${shown.colours.get(label.name)}`, "data-label": label.name },
            h("span", {}, `${label.name} ${Math.round(box.confidence ?? label.confidence)}`)),
          { left: box.left, top: box.top, width: box.width, height: box.height },
        ),
      ),
    ),
  );
}

async function showSimilar({ key, similar }, signal) {
  const images = await get("image/similar", { key, limit: 8 }, signal).catch(() => []);
  if (!images.length) return;
  similar.hidden = false;
  similar.replaceChildren(
    h("h3", {}, "Similar images"),
    h("ul", {}, images.map((other) =>
      h("li", {}, h("a", { href: link({ image: other.key, boxes: null }), title: `${other.name}: ${Math.round(other.likeness * 100)} % alike` },
        h("img", { src: thumbnail(other), alt: other.name, loading: "lazy" }))))),
  );
}
