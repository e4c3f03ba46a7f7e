import { type Client, connect, GyreError } from "@gyre-events/client";
import { type Admin, admin } from "@gyre-events/client/admin";
import { now } from "./clock.svelte.js";
import { session } from "./session.svelte.js";

/** The connection of the page, and what hangs on it. */
class Live {
  connected = $state(false);
  /** When the connection was lost, in ms. */
  lostAt = $state(0);
  /** When it came back after more than a moment, and when it was lost before, in ms. */
  back = $state.raw<{ at: number; lostAt: number }>();
  /** When it is tried again, in ms; 0 while that happens. */
  retryAt = $state(0);
  error = $state.raw<GyreError>();
  /** Counts connections: what is shown is asked for anew after each. */
  epoch = $state(0);
  client = $state.raw<Client>();
  operator = $state.raw<Admin>();
  /** What the node has beside the log. */
  features = $state.raw<readonly string[]>([]);
  /** Whoever reaches the node may do everything, while the store has no key. */
  insecure = $state(false);
  /** Counts starts and stops: what an earlier one began has ended. */
  #run = 0;

  /** Connects; it does so again by itself. */
  async start(): Promise<void> {
    const run = ++this.#run;
    const onState = (s: { connected: boolean; error?: GyreError; retryInMs?: number }) => {
      if (run !== this.#run) return;
      this.connected = s.connected;
      this.retryAt = s.retryInMs === undefined ? 0 : Date.now() + s.retryInMs;
      this.error = s.error;
      if (s.connected) this.epoch++;
      else if (this.lostAt === 0) this.lostAt = Date.now();
      if (s.connected && this.away) this.back = { at: Date.now(), lostAt: this.lostAt };
      if (s.connected) this.lostAt = 0;
      if (GyreError.is(s.error, "unauthenticated")) void session.begin();
    };
    for (let pause = 500; run === this.#run; pause = Math.min(2 * pause, 5000)) {
      let client: Client | undefined;
      try {
        client = await connect(location.origin, { name: "dashboard", headers: session.headers, onState });
        const operator = admin(client);
        const { features, insecure = false } = await operator.node.server();
        if (run !== this.#run) return void (await client.close());
        this.features = features;
        this.insecure = insecure;
        this.operator = operator;
        this.client = client;
        return;
      } catch (e) {
        await client?.close();
        onState({ connected: false, error: e as GyreError, retryInMs: pause });
        await passes(pause);
      }
    }
  }

  /** The node has not answered for more than a moment. */
  get away(): boolean {
    return this.lostAt > 0 && now() - this.lostAt > 1000;
  }

  /** Tries again now: the client, too, does so when the network is back. */
  hurry(): void {
    dispatchEvent(new Event("online"));
  }

  async stop(): Promise<void> {
    this.#run++;
    const { client } = this;
    this.connected = false;
    this.client = this.operator = undefined;
    await client?.close();
  }
}

export const live = new Live();

/** Waits, but no longer than until the network is back. */
async function passes(ms: number): Promise<void> {
  await new Promise((done) => {
    setTimeout(done, ms);
    addEventListener("online", done, { once: true });
  });
}
