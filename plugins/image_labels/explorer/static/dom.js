// Elements, made of text and attributes only: nothing here takes HTML.

/** Make an element; `on…` are listeners, `false` and null leave an attribute out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Set custom properties, which the style sheet draws by. */
export function styled(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(`--${name}`, value);
  return element;
}

const TITLES = { 401: "Your login has ended", 404: "Not there", 422: "Not understood", 503: "Not available" };

/** Say what went wrong, where its answer would have been. */
export function problem(error) {
  const title = TITLES[error.status] ?? error.title;
  const login = error.status === 401 && h("p", {}, h("a", { href: location.href, "data-leave": true }, "Log in again"));
  return h("div", { class: "problem", role: "alert" }, h("strong", {}, title), h("p", {}, error.message), login);
}

export const number = new Intl.NumberFormat("en");

export const percent = (share) => `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;

export function bytes(size) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(size, 1)) / 3), units.length - 1);
  return `${(size / 1000 ** power).toFixed(power && size / 1000 ** power < 10 ? 1 : 0)} ${units[power]}`;
}

export const moment = (time) => (time ? `${time.slice(0, 10)} ${time.slice(11, 16)} UTC` : "");

/** A choice with a label. */
export function select(label, value, options, onchange) {
  const list = h(
    "select",
    { onchange: () => onchange(list.value) },
    options.map(([option, text]) => h("option", { value: option, selected: String(option) === String(value) }, text)),
  );
  return h("label", { class: "field" }, h("span", {}, label), list);
}
