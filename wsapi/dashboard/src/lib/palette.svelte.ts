/** Whether the palette, or the list of keys, is open. */
class Palette {
  open = $state<"no" | "palette" | "keys">("no");

  show(): void {
    this.open = "palette";
  }

  keys(): void {
    this.open = "keys";
  }

  close(): void {
    this.open = "no";
  }
}

export const palette = new Palette();
