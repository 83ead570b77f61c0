// Runs before the first paint, so the page never flashes in the wrong theme or language.
(() => {
  const root = document.documentElement;
  const stored = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const theme = stored("headroom.theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const lang = stored("headroom.lang");
  root.lang = lang === "en" || lang === "ko" ? lang : navigator.language.startsWith("ko") ? "ko" : "en";
})();
