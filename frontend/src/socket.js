// The one WebSocket of a page. Subscriptions are kept here and said again after every reconnect, so that callers never think of it.
const PING_MS = 20000, SILENT_MS = 50000, FIRST_MS = 400, LONGEST_MS = 20000;

class Socket extends EventTarget {
  #ws = null; #tries = 0; #timer = 0; #pinger = 0; #heard = 0; #stopped = false; #subs = new Map();
  state = "idle"; since = Date.now(); nextAt = 0; lastData = Date.now();

  start() {
    if (this.#ws || this.#stopped) return;
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const ws = (this.#ws = new WebSocket(url));
    this.#set("connecting");
    ws.onopen = () => {
      this.#heard = Date.now();
      this.#tries = 0;
      for (const make of this.#subs.values()) this.#raw(make());
      this.#pinger = setInterval(() => {
        if (Date.now() - this.#heard > SILENT_MS) ws.close();
        else this.#raw({ type: "ping" });
      }, PING_MS);
      this.#set("open");
    };
    ws.onmessage = (event) => {
      this.#heard = this.lastData = Date.now();
      let message;
      try { message = JSON.parse(event.data); } catch { return; }
      if (message && message.payload && typeof message.payload === "object") message = { ...message.payload, ...message };
      if (message.type === "pong") return;
      this.dispatchEvent(new CustomEvent("message", { detail: message }));
    };
    ws.onclose = (event) => {
      clearInterval(this.#pinger);
      this.#ws = null;
      if (event.code === 4401) { this.#stopped = true; this.#set("signedout"); return; }
      if (event.code === 4409 || event.code === 4403) { this.#stopped = true; this.#set("refused"); return; }
      this.#set("lost");
      const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#tries++) * (0.5 + Math.random());
      this.nextAt = Date.now() + wait;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.start(), wait);
    };
  }
  now() { clearTimeout(this.#timer); if (!this.#ws) this.start(); }
  #set(state) {
    // "connecting" after a loss is still a loss to the reader
    if (state === "connecting" && this.state === "lost") return;
    if (state !== this.state) { if (!(state === "lost" && this.state === "connecting" && this.#tries > 1)) this.since = Date.now(); this.state = state; this.dispatchEvent(new Event("state")); }
  }
  #raw(message) { if (this.#ws?.readyState === WebSocket.OPEN) { this.#ws.send(JSON.stringify(message)); return true; } return false; }
  send(message) { return this.#raw(message); }
  // make() gives the message that subscribes; it is called again after each reconnect, so it can say where it left off
  subscribe(key, make) { this.#subs.set(key, make); this.#raw(make()); }
  unsubscribe(key, message) { if (this.#subs.delete(key) && message) this.#raw(message); }
  on(handler) { this.addEventListener("message", (event) => handler(event.detail)); }
}
export const socket = new Socket();
