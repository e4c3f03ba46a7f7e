import type { Page, View } from "./pages.js";

/** The code of the pages, as far as it is loaded. */
class Views {
  #loaded = $state.raw<ReadonlyMap<Page["view"], View>>(new Map());
  /** The page whose code could not be loaded: a node of another version has other files. */
  failed = $state.raw<Page>();

  /** The component of a page; undefined until it is loaded. */
  of(page: Page): View | undefined {
    return this.#loaded.get(page.view);
  }

  /** Loads the code of the page that is to be shown. */
  async load(page: Page): Promise<void> {
    this.failed = undefined;
    await this.#load(page).catch(() => {
      this.failed = page;
    });
  }

  /** Loads the code of pages one by one, while nothing else is to do. */
  async prepare(pages: readonly Page[]): Promise<void> {
    for (const page of pages) {
      await new Promise((done) => setTimeout(done, 200));
      await this.#load(page).catch(() => {}); // it is loaded again when it is opened
    }
  }

  async #load(page: Page): Promise<void> {
    if (this.of(page) !== undefined) return;
    const { default: view } = await page.view();
    this.#loaded = new Map(this.#loaded).set(page.view, view);
  }
}

export const views = new Views();
