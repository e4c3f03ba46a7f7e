/** Whether times are the reader's, or UTC. The browser remembers it. */
class Zone {
  utc = $state(localStorage.getItem("gyre-times") === "utc");

  use(utc: boolean): void {
    this.utc = utc;
    if (utc) localStorage.setItem("gyre-times", "utc");
    else localStorage.removeItem("gyre-times");
  }
}

export const zone = new Zone();
