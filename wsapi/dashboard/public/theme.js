// Sets the theme before the first paint, if the reader has chosen one.
{
  const theme = localStorage.getItem("gyre-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}
