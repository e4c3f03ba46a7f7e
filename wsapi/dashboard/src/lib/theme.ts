/** Turns light into dark, or back, and remembers it. */
export function turn(): void {
  const { dataset } = document.documentElement;
  const dark =
    dataset["theme"] === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : dataset["theme"] === "dark";
  use(dark ? "light" : "dark");
}

/** The theme that was chosen; undefined is that of the system. */
export function chosenTheme(): "light" | "dark" | undefined {
  const { theme } = document.documentElement.dataset;
  return theme === "light" || theme === "dark" ? theme : undefined;
}

/** Uses a theme; that of the system, if it is undefined. */
export function use(theme: "light" | "dark" | undefined): void {
  if (theme === undefined) {
    localStorage.removeItem("gyre-theme");
    delete document.documentElement.dataset["theme"];
  } else {
    localStorage.setItem("gyre-theme", theme);
    document.documentElement.dataset["theme"] = theme;
  }
}
