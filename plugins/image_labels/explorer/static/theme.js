// Light or dark as Airflow around the page is; on its own the page follows the system.
(() => {
  if (window.parent === window) return;
  const theirs = window.parent.document.documentElement;
  const follow = () => {
    for (const theme of ["light", "dark"]) {
      document.documentElement.classList.toggle(theme, theirs.classList.contains(theme));
    }
  };
  follow();
  new MutationObserver(follow).observe(theirs, { attributeFilter: ["class"] });
})();
