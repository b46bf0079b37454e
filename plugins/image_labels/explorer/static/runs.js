// The books of the runs, and what could not be taken.

import { get } from "./api.js";
import { h, moment, number, problem } from "./dom.js";

let running = new AbortController();

export async function showRuns(content) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const list = h("ul", { class: "runs" });
  const more = h("button", { type: "button", class: "more", hidden: true }, "Show earlier runs");
  const view = h("div", { class: "view", "aria-busy": "true" }, h("h2", {}, "Runs and their books"), list, more);
  content.replaceChildren(view);

  async function load(before) {
    try {
      const page = await get("runs", { before }, signal);
      const first = list.children.length;
      list.append(...page.runs.map(run));
      more.hidden = page.next === null;
      more.onclick = () => load(page.next);
      if (before) list.children[first]?.querySelector("summary").focus();
      if (!list.children.length) list.replaceWith(h("div", { class: "empty" }, h("p", {}, "There was no run yet.")));
    } catch (error) {
      if (error.name !== "AbortError") more.before(problem(error));
    }
    view.removeAttribute("aria-busy");
  }
  await load();
}

function run(entry) {
  const { sense = {}, analyse = {} } = entry.books;
  const amounts = [
    [sense.new, "new"],
    [analyse.called, "analysed"],
    [analyse.reused, "known"],
    [entry.quarantined, "refused"],
  ];
  const quarantine = h("div");
  const details = h(
    "details",
    {},
    h(
      "summary",
      {},
      h("span", { class: "day" }, entry.day),
      h("span", { class: `state ${entry.state}` }, entry.state),
      h("span", { class: "amounts" }, amounts.filter(([value]) => value).map(([value, what]) => h("span", {}, `${number.format(value)} ${what}`))),
      h("span", { class: "faint" }, entry.spent_usd ? `${entry.spent_usd.toFixed(3)} USD` : ""),
    ),
    h("p", {}, h("a", { href: `../dags/${encodeURIComponent(entry.dag)}/runs/${encodeURIComponent(entry.run)}`, "data-leave": true }, entry.run),
      h("span", { class: "faint" }, [entry.landing && ` from ${entry.landing}`, entry.closed_at && `, closed ${moment(entry.closed_at)}`].filter(Boolean).join(""))),
    entry.problems.map((sentence) => h("p", { class: "problem" }, sentence)),
    books(entry.books),
    quarantine,
  );
  details.addEventListener("toggle", () => {
    if (details.open && entry.quarantined && !quarantine.children.length) refused(entry.run, quarantine);
  });
  return h("li", {}, details);
}

function books(steps) {
  const rows = Object.entries(steps).map(([step, counts]) =>
    h("tr", {}, h("th", { scope: "row" }, step),
      h("td", {}, Object.entries(counts).map(([name, count]) => h("span", { class: "entry" }, h("b", {}, number.format(count)), ` ${name.replaceAll("_", " ")}`)))),
  );
  return rows.length ? h("table", { class: "books" }, h("caption", {}, "Books"), h("tbody", {}, rows)) : null;
}

async function refused(name, place) {
  const list = h("ul", { class: "refused" });
  const more = h("button", { type: "button", class: "more", hidden: true }, "Show more");
  place.replaceChildren(h("h3", {}, "Quarantine"), list, more);
  async function load(after) {
    try {
      const page = await get("runs/quarantine", { run: name, after });
      list.append(...page.files.map(file));
      more.hidden = page.next === null;
      more.onclick = () => load(page.next);
    } catch (error) {
      more.before(problem(error));
    }
  }
  await load();
}

function file(entry) {
  const none = () => h("span", { class: "missing" }, "No picture");
  const small = entry.picture ? h("img", { src: entry.picture, alt: "", loading: "lazy" }) : none();
  small.addEventListener("error", () => small.replaceWith(none()), { once: true });
  return h(
    "li",
    {},
    h("span", { class: "thumb" }, small),
    h("div", {}, h("strong", {}, entry.path), h("p", {}, entry.reason),
      h("p", { class: "faint" }, `${entry.code} in ${entry.step}, ${moment(entry.at)}`)),
  );
}
