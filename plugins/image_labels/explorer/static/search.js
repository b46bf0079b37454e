// Images by what is in them.

import { address, get, thumbnail } from "./api.js";
import { complete } from "./complete.js";
import { h, number, problem, select, styled } from "./dom.js";
import { go, link } from "./state.js";

const PAGE = 48;
const SORTS = [
  ["key", "Path"],
  ["-day", "Newest day first"],
  ["day", "Oldest day first"],
  ["-taken_at", "Taken, latest first"],
  ["taken_at", "Taken, earliest first"],
];
const SYNTAX = [
  ["Person>=90 Book", "both labels, the first at 90 % or more"],
  ["-Text", "without a label"],
  ["Cat|Dog", "at least one of them"],
  ["Person:2..4", "located two to four times"],
  ['"Hot Dog"', "quotes around blanks and signs"],
  ["parent:Animal", "any label below Animal"],
  ['category:"Animals and Pets"', "any label of a category"],
  ['photographer:"Coleen Rivas"', "by the file's name"],
  ["file:IMG_*", "by the beginning of the file's name"],
  ["taken:2021-03", "year, month or day; with .. between two"],
  ["day:2026-03-01", "day of ingest"],
  ["near:103.85,1.29,5", "within 5 km of a longitude and latitude"],
];

let ui;
let shown = "";
let explained = "";
let running = new AbortController();

/** The images that are on the page, for the dialog's way to the next one, and the labels that were asked for. */
export const result = { images: [], labels: [], ready: Promise.resolve() };

export function showSearch(content, state) {
  const { q = "", min = "", sort = "" } = state;
  if (!ui || ui.root.parentNode !== content) {
    ui ??= build();
    content.replaceChildren(ui.root);
  }
  ui.text.value = q;
  ui.slider.value = min || 0;
  showConfidence();
  ui.sort.querySelector("select").value = sort || "key";
  for (const [format, download] of Object.entries(ui.downloads)) {
    download.href = address("images/export", { ...query(state), format });
  }
  ui.plan.hidden = !state.explain;
  ui.explain.setAttribute("aria-expanded", String(Boolean(state.explain)));
  const now = JSON.stringify([q, min, sort]);
  if (now !== shown) search(query(state));
  if (state.explain && now !== explained) explain(query(state), running.signal);
  shown = now;
  explained = state.explain ? now : "";
}

const query = ({ q, min, sort }) => ({ q, min_confidence: min, sort });

function build() {
  const text = h("input", {
    id: "query", type: "search", name: "q", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    maxlength: 1000, placeholder: "Person>=90 Book -Text", "aria-label": "Search by labels",
  });
  const slider = h("input", {
    type: "range", min: 0, max: 99, step: 1, id: "confidence", oninput: showConfidence,
    onchange: () => go({ min: Number(slider.value) || null, image: null, boxes: null }),
  });
  const confidence = h("output", { for: "confidence" });
  const count = h("p", { class: "count", role: "status" });
  const grid = h("ul", { class: "grid" });
  const more = h("button", { type: "button", class: "more", hidden: true, onclick: () => loadMore(true) }, "Show more");
  const trouble = h("div");
  const plan = h("section", { class: "plan", "aria-label": "How the database answers", hidden: true });
  const sort = select("Sort", "key", SORTS, (value) => go({ sort: value === "key" ? null : value, image: null }));
  const downloads = {};
  for (const [format, name] of [["csv", "CSV"], ["parquet", "Parquet"]]) {
    downloads[format] = h(
      "a",
      { class: "button quiet", download: `images.${format}`, "data-leave": true, title: "The first 100,000 images" },
      name,
    );
  }
  const explain = h(
    "button",
    { type: "button", class: "quiet", onclick: () => go({ explain: plan.hidden ? 1 : null }, { replace: true }) },
    "Explain",
  );
  const form = h(
    "form",
    {
      role: "search", class: "search",
      onsubmit: (event) => {
        event.preventDefault();
        go({ q: text.value.trim(), image: null, boxes: null, view: null });
      },
    },
    h("div", { class: "query" }, text, h("button", { class: "primary" }, "Search")),
    h("details", { class: "syntax" }, h("summary", {}, "What can be asked"), h("dl", {},
      SYNTAX.map(([example, meaning]) => h("div", {},
        h("dt", {}, h("a", { href: link({ q: example }, {}) }, h("code", {}, example))), h("dd", {}, meaning))))),
  );
  complete(text);
  const controls = h(
    "div",
    { class: "controls" },
    h("label", { class: "field", for: "confidence" }, h("span", {}, "Confidence"), slider, confidence),
    sort,
    count,
    h("div", { class: "actions" }, h("span", { class: "faint" }, "Download"), Object.values(downloads), explain),
  );
  const root = h("div", { class: "view" }, form, controls, plan, trouble, grid, more);
  const end = new IntersectionObserver(([entry]) => entry.isIntersecting && loadMore(), { rootMargin: "600px" });
  return { root, text, slider, confidence, count, grid, more, end, trouble, plan, sort, downloads, explain };
}

function showConfidence() {
  const min = Number(ui.slider.value);
  ui.confidence.textContent = min ? `${min} % or more` : "any";
  ui.slider.setAttribute("aria-valuetext", ui.confidence.textContent);
}

function search(asked) {
  running.abort();
  running = new AbortController();
  ui.root.setAttribute("aria-busy", "true");
  ui.more.hidden = true;
  count(asked, running.signal);
  result.ready = fetchPage(asked, running.signal, true);
}

async function fetchPage(asked, signal, first) {
  let page;
  try {
    page = await get("images", { ...asked, limit: PAGE }, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    ui.trouble.replaceChildren(problem(error));
    if (first) ui.grid.replaceChildren();
    ui.more.hidden = true;
    return;
  } finally {
    if (!signal.aborted) ui.root.removeAttribute("aria-busy");
  }
  if (first) {
    result.images = [];
    result.labels = page.labels;
    ui.grid.replaceChildren();
    ui.trouble.replaceChildren();
  }
  result.images.push(...page.images);
  ui.grid.append(...page.images.map(card));
  ui.more.hidden = page.next === null;
  result.more = page.next && (() => fetchPage({ ...asked, after: page.next }, signal, false));
  // Afresh, for it tells of changes only: on a large screen the end may be as near after a page as it was before.
  ui.end.disconnect();
  ui.end.observe(ui.more);
  if (first && !page.images.length) {
    ui.trouble.replaceChildren(
      h("div", { class: "empty" }, h("p", {}, "No image fits."),
        h("p", { class: "faint" }, "Lower the confidence, or leave a label out.")),
    );
  }
}

/** Append the next page; called by hand it takes the focus along. */
async function loadMore(byHand = false) {
  const { more } = result;
  if (!more) return;
  result.more = null;
  const before = ui.grid.children.length;
  await more();
  if (byHand) ui.grid.children[before]?.querySelector("a").focus();
}

async function count(asked, signal) {
  ui.count.textContent = "";
  try {
    const found = await get("images/count", { ...asked, sort: null }, signal);
    const images = found.exact && found.count === 1 ? "image" : "images";
    ui.count.textContent = `${number.format(found.count)}${found.exact ? "" : "+"} ${images}`;
  } catch {
    // Where the images cannot be had either, that is said once, in their place.
  }
}

function card(image) {
  const ratio = Math.min(Math.max(image.width / image.height, 0.55), 2.4);
  const small = h("img", { src: thumbnail(image), alt: "", loading: "lazy", decoding: "async" });
  small.addEventListener("error", () => small.replaceWith(h("span", { class: "missing" }, "No preview")));
  return styled(
    h("li", {}, h("a", { href: link({ image: image.key, boxes: null }), title: image.key },
      h("span", { class: "thumb" }, small), h("span", { class: "name" }, image.name))),
    { ratio },
  );
}

async function explain(asked, signal) {
  ui.plan.replaceChildren(h("p", { class: "faint" }, "Asking the database…"));
  try {
    const plan = await get("images/explain", asked, signal);
    const facts = [
      ["Query", h("code", {}, plan.query || "every image")],
      ["Plan", plan.stages.join(" ← ")],
      ["Index", plan.indexes.join(", ") || "none: the whole collection is scanned"],
      ["Examined", examined(plan)],
    ];
    ui.plan.replaceChildren(
      h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("pre", { tabindex: 0, "aria-label": "Filter" }, plan.filter),
    );
  } catch (error) {
    if (error.name !== "AbortError") ui.plan.replaceChildren(problem(error));
  }
}

function examined({ documents_examined: documents, keys_examined: keys, returned }) {
  const parts = [[documents, "documents"], [keys, "index keys"]].filter(([value]) => value !== null);
  const what = parts.map(([value, name]) => `${number.format(value)} ${name}`).join(" and ");
  return what ? `${what} for the ${number.format(returned ?? 0)} images of the first page` : "the database does not say";
}
