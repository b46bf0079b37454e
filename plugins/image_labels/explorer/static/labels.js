// How often each label is seen, as the reports have it.

import { get } from "./api.js";
import { h, number, percent, problem, select, styled } from "./dom.js";
import { go, quoted, searchLink } from "./state.js";

let running = new AbortController();

export async function showLabels(content, { scope = "all", day = null, min = 90, top = 30 }) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const view = h("div", { class: "view", "aria-busy": "true" });
  if (!content.querySelector(".chart")) content.replaceChildren(view);
  try {
    const answer = await get("labels/frequencies", { scope, day, min_confidence: min, limit: top }, signal);
    const [control] = [document.activeElement?.closest(".field")?.textContent];
    view.replaceChildren(h("h2", {}, "Labels by images"), controls(answer, top), chart(answer));
    content.replaceChildren(view);
    if (control) [...view.querySelectorAll(".field")].find((field) => field.textContent === control)?.querySelector("select").focus();
  } catch (error) {
    if (error.name === "AbortError") return;
    view.replaceChildren(problem(error));
    content.replaceChildren(view);
  }
  view.removeAttribute("aria-busy");
}

function controls(answer, top) {
  const days = answer.days.map((day) => [day, day]);
  return h(
    "div",
    { class: "controls" },
    select("Images", answer.scope, [["all", "All, up to the day"], ["day", "Of the day"]], (scope) => go({ scope })),
    answer.day && select("Day", answer.day, days, (day) => go({ day })),
    select("Confidence", answer.min_confidence, answer.thresholds.map((value) => [value, `${value} % or more`]), (min) => go({ min })),
    select("Show", top, [["30", "30"], ["100", "100"], ["200", "200"]], (value) => go({ top: value })),
    h("p", { class: "count", role: "status" }, `${number.format(answer.total)} labels`),
  );
}

function chart(answer) {
  if (!answer.day) return h("div", { class: "empty" }, h("p", {}, "There is no report yet. The DAG writes one each day."));
  if (!answer.labels.length) return h("div", { class: "empty" }, h("p", {}, "No label reaches this confidence."));
  const most = answer.labels[0].images;
  const of = answer.scope === "day" ? ` day:${answer.day}` : "";
  return h(
    "ol",
    { class: "chart" },
    answer.labels.map((row) =>
      h("li", {}, styled(
        h(
          "a",
          {
            href: searchLink(`${quoted(row.label)}>=${answer.min_confidence}${of}`),
            title: `Located ${number.format(row.instances)} times; mean confidence ${row.mean_confidence.toFixed(1)} %`,
          },
          h("span", { class: "label" }, row.label),
          h("span", { class: "track", "aria-hidden": "true" }),
          h("span", { class: "amount" }, number.format(row.images)),
          h("span", { class: "amount faint" }, percent(row.share)),
        ),
        { share: row.images / most },
      )),
    ),
  );
}
