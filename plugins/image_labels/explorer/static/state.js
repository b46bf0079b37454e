// The address holds the whole state of the page, so that any of it can be sent to a colleague.

export const read = () => {
  const parameters = new URLSearchParams(location.search);
  return { ...Object.fromEntries(parameters), boxes: parameters.getAll("boxes") };
};

/** The address of the state that differs from the present one by `changes`; null takes something away. */
export function link(changes, from = read()) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...from, ...changes })) {
    for (const item of [value].flat()) if (item != null && item !== "") parameters.append(name, item);
  }
  return `?${parameters}`;
}

/** The address of a search and nothing else. */
export const searchLink = (q, min) => link({ q, min }, {});

export function go(changes, { replace = false, from = read() } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", link(changes, from));
  dispatchEvent(new PopStateEvent("popstate"));
}

/** A label as it is written in a query. */
export const quoted = (label) =>
  /^[\p{L}\p{N}]+$/u.test(label) ? label : `"${label.replace(/["\\]/g, "\\$&")}"`;
