/** A listener's parameters by event name. */
export type EventMap = { readonly [event: string]: readonly unknown[] };

/** Events for the host. A listener that throws does not disturb the others; its error goes to `onError`. */
export class Emitter<Events extends EventMap> {
  readonly #listeners: { [Name in keyof Events]?: Set<(...parameters: Events[Name]) => void> } = {};
  readonly #onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Returns the function that removes the listener. */
  on<Name extends keyof Events>(event: Name, listener: (...parameters: Events[Name]) => void): () => void {
    const listeners = (this.#listeners[event] ??= new Set());
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  emit<Name extends keyof Events>(event: Name, ...parameters: Events[Name]): void {
    for (const listener of [...(this.#listeners[event] ?? [])]) {
      try {
        listener(...parameters);
      } catch (error) {
        this.#onError(error);
      }
    }
  }
}
