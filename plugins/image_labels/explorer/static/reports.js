// What the reports have put into S3.

import { get } from "./api.js";
import { bytes, h, problem } from "./dom.js";
import { link } from "./state.js";

let running = new AbortController();

export async function showReports(content, { month = null }) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const view = h("div", { class: "view", "aria-busy": "true" });
  content.replaceChildren(view);
  try {
    const answer = await get("reports", { month }, signal);
    view.replaceChildren(h("h2", {}, "Reports"), months(answer), days(answer));
  } catch (error) {
    if (error.name === "AbortError") return;
    view.replaceChildren(problem(error));
  }
  view.removeAttribute("aria-busy");
}

function months(answer) {
  const beside = (by) => {
    const [year, month] = answer.month.split("-").map(Number);
    return new Date(Date.UTC(year, month - 1 + by)).toISOString().slice(0, 7);
  };
  return h(
    "div",
    { class: "controls" },
    h("a", { class: "button quiet", href: link({ month: beside(-1) }) }, `← ${beside(-1)}`),
    h("strong", {}, answer.month),
    h("a", { class: "button quiet", href: link({ month: beside(1) }) }, `${beside(1)} →`),
    h("a", { class: "actions", href: answer.folder, target: "_blank", "data-leave": true }, "All in S3"),
  );
}

function days({ files, month, complete }) {
  if (!files.length) return h("div", { class: "empty" }, h("p", {}, `There are no reports of ${month}.`));
  const byDay = Map.groupBy(files, (file) => file.day);
  return h(
    "ul",
    { class: "reports" },
    [...byDay].map(([day, there]) =>
      h("li", {}, h("h3", {}, day), h("ul", {}, there.map((file) =>
        h("li", {}, h("a", { href: file.href, target: "_blank", "data-leave": true }, file.name),
          h("span", { class: "faint" }, ` ${file.table.replaceAll("_", " ")}, ${bytes(file.bytes)}`))))),
    ),
    !complete && h("li", { class: "faint" }, "There are more files than are listed here; the folder in S3 has them all."),
  );
}
