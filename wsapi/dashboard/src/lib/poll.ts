/**
 * Looks now and every so many ms while the page is seen, one look at a time: the next is due once
 * the last has been answered. It ends with what is returned.
 */
export function poll(look: (signal: AbortSignal) => Promise<void>, everyMs: number): () => void {
  const stop = new AbortController();
  let looking = false;
  const due = () => {
    if (document.hidden || looking) return;
    looking = true;
    void look(stop.signal).finally(() => (looking = false));
  };
  due();
  const timer = setInterval(due, everyMs);
  return () => {
    stop.abort();
    clearInterval(timer);
  };
}
