/** A heading that is later than this gets no focus: the reader is elsewhere. */
const patience = 5000;

/**
 * Puts the focus on the heading of a page that was opened, once it is there, so that a screen
 * reader says where it is. A focus that the reader has set meanwhile stays.
 */
export function arrive(main: HTMLElement): () => void {
  const take = () => {
    const h1 = main.querySelector("h1");
    if (h1 === null) return;
    leave();
    if (document.activeElement !== document.body && document.activeElement !== main) return;
    h1.tabIndex = -1;
    h1.focus({ preventScroll: true });
  };
  const seen = new MutationObserver(take);
  const timer = setTimeout(() => seen.disconnect(), patience);
  const begin = requestAnimationFrame(() => {
    // What lay over the page, and had the focus, is gone.
    main.focus({ preventScroll: true });
    seen.observe(main, { childList: true, subtree: true });
    take();
  });
  const leave = () => {
    cancelAnimationFrame(begin);
    clearTimeout(timer);
    seen.disconnect();
  };
  return leave;
}
