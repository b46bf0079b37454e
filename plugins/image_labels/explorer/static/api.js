// The API, with its problems as exceptions.

export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
  }
}

/** The address of a resource; parameters that are empty are left out. */
export function address(path, parameters = {}) {
  const said = Object.entries(parameters).filter(([, value]) => value != null && value !== "");
  return `api/${path}?${new URLSearchParams(said)}`;
}

export async function get(path, parameters, signal) {
  let response;
  try {
    response = await fetch(address(path, parameters), { signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "No answer", "Airflow's web server cannot be reached; try again in a moment");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new Problem(response.status, answer?.title ?? "No answer", answer?.detail ?? `HTTP status ${response.status}`);
}

export const thumbnail = (image) => `api/thumbnails/${image.sha256}`;
export const picture = (image) => `api/pictures/${image.sha256}`;
