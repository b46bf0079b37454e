// Completion of labels in the search box, as the combobox pattern of ARIA has it.

import { get } from "./api.js";
import { h, number } from "./dom.js";
import { quoted } from "./state.js";

/** The beginning of a label before the caret: a bare word, or one in quotes that are still open. */
const TOKEN = /(?:^|[\s(|-])("[^"]*|[^\s"()|<>=:@.-][^\s"()|<>=:@]*)$/u;

export function complete(input) {
  const list = h("ul", { id: "labels", class: "options", role: "listbox", "aria-label": "Labels", hidden: true });
  const attributes = { role: "combobox", "aria-autocomplete": "list", "aria-controls": "labels", "aria-expanded": "false" };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
  input.after(list);
  let active = -1;
  let timer;
  let running = new AbortController();

  const token = () => TOKEN.exec(input.value.slice(0, input.selectionStart))?.[1];

  function close() {
    clearTimeout(timer);
    running.abort();
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function activate(index) {
    const options = [...list.children];
    active = (index + options.length) % options.length;
    options.forEach((option, position) => option.setAttribute("aria-selected", String(position === active)));
    options[active].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[active].id);
  }

  function choose(label) {
    const caret = input.selectionStart;
    const before = input.value.slice(0, caret - token().length);
    const after = input.value.slice(caret).trimStart();
    input.value = `${before}${quoted(label)} ${after}`;
    const end = input.value.length - after.length;
    input.setSelectionRange(end, end);
    close();
    input.focus();
  }

  async function suggest() {
    const prefix = token()?.replace(/^"/, "");
    running.abort();
    running = new AbortController();
    if (!prefix) return close();
    const labels = await get("labels", { prefix, limit: 8 }, running.signal).catch(() => null);
    if (labels === null) return;
    if (!labels.length) return close();
    list.replaceChildren(
      ...labels.map(({ label, images }, index) =>
        h(
          "li",
          {
            id: `label-${index}`, role: "option", "aria-selected": "false",
            onpointerdown: (event) => {
              event.preventDefault();
              choose(label);
            },
          },
          h("span", {}, label), h("span", { class: "faint" }, number.format(images)),
        ),
      ),
    );
    active = -1;
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.removeAttribute("aria-activedescendant");
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(suggest, 120);
  });
  input.addEventListener("blur", close);
  input.form?.addEventListener("submit", close);
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const moves = { ArrowDown: active + 1, ArrowUp: active < 0 ? -1 : active - 1 };
    if (event.key in moves) activate(moves[event.key]);
    else if (event.key === "Escape") close();
    else if ((event.key === "Enter" || event.key === "Tab") && active >= 0) choose(list.children[active].firstChild.textContent);
    else return;
    event.preventDefault();
  });
}
