import { errorOf } from "./query.svelte.js";

/** A question before something is done that cannot be taken back. */
export interface Question {
  title: string;
  /** What it touches, in numbers. */
  body: string;
  /** On the button: "Reset mail". */
  verb: string;
  danger?: boolean;
  /** What is said when it was done. */
  done: string;
  /** What has to be typed before. */
  typed?: string;
  act: () => Promise<void>;
}

class Asking {
  question = $state.raw<Question>();
  toast = $state.raw<{ text: string; bad: boolean; undo?: (() => Promise<void>) | undefined }>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Asks, and acts if the reader agrees. */
  confirm(question: Question): void {
    this.question = question;
  }

  /** Says what was done, for a few seconds. */
  say(text: string, undo?: () => Promise<void>): void {
    this.#show({ text, bad: false, undo });
  }

  /** Does something, and says what came of it. */
  async do(act: () => Promise<unknown>, done?: string, undo?: () => Promise<void>): Promise<boolean> {
    try {
      await act();
      if (done !== undefined) this.say(done, undo);
      return true;
    } catch (e) {
      const { code, detail } = errorOf(e);
      this.#show({ text: `${detail} (${code})`, bad: true });
      return false;
    }
  }

  hush(): void {
    clearTimeout(this.#timer);
    this.toast = undefined;
  }

  /** Keeps the toast while it has the focus. */
  hold(): void {
    clearTimeout(this.#timer);
  }

  #show(toast: { text: string; bad: boolean; undo?: (() => Promise<void>) | undefined }): void {
    this.hush();
    this.toast = toast;
    this.#timer = setTimeout(() => this.hush(), toast.bad ? 12_000 : 6000);
  }
}

export const asking = new Asking();
