// Sends chosen files in pieces, goes on after a lost connection or a reload, and watches imports.
"use strict";

(() => {
  const token = (form) => form.querySelector("[name=csrfmiddlewaretoken]").value;
  const rest = (seconds) => new Promise((wake) => setTimeout(wake, seconds * 1000));
  class Refused extends Error {}
  class Stopped extends Error {}

  async function answer(response) {
    const text = await response.text();
    let said = {};
    try { said = JSON.parse(text); } catch { /* no JSON: the status has to do */ }
    return said;
  }

  // What the browser remembers of an upload, so that the same file goes on after a reload.
  const store = {
    key: (form, file) => ["licet-upload", form.dataset.upload, form.dataset.organization,
      file.webkitRelativePath || file.name, file.size, file.lastModified].join("|"),
    get(key) { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* full */ } },
    drop(key) { try { localStorage.removeItem(key); } catch { /* none */ } },
  };

  class Sender {
    constructor(form) {
      this.form = form;
      this.words = form.dataset;
      this.status = form.querySelector("[data-status]");
      this.bar = form.querySelector("[data-progress]");
      this.stop = form.querySelector("[data-stop]");
      this.abort = null;
      form.querySelector("[data-plain]").hidden = true;
      const input = form.querySelector("[data-folder]");
      if (input) { input.webkitdirectory = true; }
      form.addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
      this.stop.addEventListener("click", () => this.abort?.abort());
    }

    say(text) { if (this.status.textContent !== text) { this.status.textContent = text; } }

    async send() {
      const files = [...this.form.querySelector("input[type=file]").files];
      const button = this.form.querySelector("button:not([data-stop])");
      this.abort = new AbortController();
      button.disabled = true;
      this.stop.hidden = this.bar.hidden = false;
      try {
        await (this.words.host ? this.folder(files) : this.table(files[0]));
      } catch (error) {
        if (error instanceof Refused) { this.say(error.message); }
        else if (error instanceof Stopped) { this.say(this.words.stopped); }
        else { this.say(this.words.lost); throw error; }
      } finally {
        button.disabled = false;
        this.stop.hidden = true;
      }
    }

    async table(file) {
      const upload = await this.whole(file, (sent) => this.show(sent, file.size));
      store.drop(store.key(this.form, file));
      location.assign(upload.next);
    }

    async folder(files) {
      const total = files.reduce((sum, file) => sum + file.size, 0);
      const list = this.form.querySelector("[data-refusals]");
      list.replaceChildren();
      let before = 0, came = 0, refused = 0;
      for (const file of files) {
        try {
          const upload = await this.whole(file, (sent) => this.show(before + sent, total));
          await this.host(upload, file);
          came += 1;
        } catch (error) {
          if (!(error instanceof Refused)) { throw error; }
          refused += 1;
          const line = document.createElement("li");
          line.textContent = `${file.webkitRelativePath || file.name}: ${error.message}`;
          list.append(line);
        }
        store.drop(store.key(this.form, file));
        before += file.size;
      }
      this.show(total, total);
      this.say(`${this.words.done} ${came}. ${this.words.refused} ${refused}.`);
    }

    show(sent, total) {
      const percent = total ? Math.floor((100 * sent) / total) : 100;
      if (percent !== this.percent) {
        this.percent = this.bar.value = percent;
        // A screen reader hears each tenth, not each piece.
        if (percent % 10 === 0) { this.say(`${this.words.sending}: ${percent} %`); }
      }
    }

    // Everything of one file, and what the server says once it has checked it.
    async whole(file, show) {
      if (file.size === 0) { throw new Refused(this.words.empty); }
      if (file.size > Number(this.words.max)) { throw new Refused(this.words.tooLarge); }
      const upload = await this.begun(file);
      let offset = upload.offset || 0;
      show(offset);
      while (offset < file.size) {
        offset = await this.piece(upload, file, offset);
        show(offset);
      }
      this.say(this.words.checking);
      await this.call(`${upload.url}/finish`, "POST", "{}", { "Content-Type": "application/json" });
      return upload;
    }

    async begun(file) {
      const key = store.key(this.form, file);
      const known = store.get(key);
      if (known) {
        const offset = await this.offset(known);
        if (offset !== null) {
          this.say(this.words.resumed);
          return { ...known, offset };
        }
      }
      const body = new URLSearchParams({ name: file.webkitRelativePath || file.name, length: file.size });
      const said = await this.call(this.words.upload, "POST", body, {});
      const upload = { upload: said.upload, url: said.url, next: said.next };
      store.set(key, upload);
      return upload;
    }

    // Where an upload goes on; null where it cannot.
    async offset(upload) {
      const response = await this.reach(upload.url, { method: "GET" });
      const said = response.ok ? await answer(response) : {};
      return said.status === "receiving" || said.status === "finished" ? said.offset : null;
    }

    async piece(upload, file, offset) {
      const bytes = file.slice(offset, offset + Number(this.words.piece));
      let response;
      try {
        response = await this.fetch(upload.url, {
          method: "PATCH", body: bytes,
          headers: { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) },
        });
      } catch (error) {
        if (error instanceof Stopped) { throw error; }
        response = null;
      }
      if (response?.ok) { return (await answer(response)).offset; }
      const said = response ? await answer(response) : {};
      if (response && response.status < 500 && response.status !== 409 && response.status !== 429) {
        throw new Refused(said.detail || String(response.status));
      }
      // Whatever came of it, the server knows how much it has.
      await rest(1);
      const known = await this.offset(upload);
      if (known === null) { throw new Refused(said.detail || this.words.stopped); }
      return known;
    }

    async host(upload, file) {
      const body = new URLSearchParams({ upload: upload.upload, name: file.webkitRelativePath || file.name });
      await this.call(this.words.host, "POST", body, {});
    }

    async call(url, method, body, headers) {
      const response = await this.reach(url, { method, body, headers });
      const said = await answer(response);
      if (!response.ok) { throw new Refused(said.error || said.detail || String(response.status)); }
      return said;
    }

    // As fetch, and again until there is a connection.
    async reach(url, options) {
      for (let wait = 1; ; wait = Math.min(wait * 2, 30)) {
        try {
          const response = await this.fetch(url, options);
          if (response.status < 502) { return response; }
        } catch (error) {
          if (error instanceof Stopped) { throw error; }
        }
        this.say(this.words.lost);
        await rest(wait);
        if (this.abort.signal.aborted) { throw new Stopped(); }
      }
    }

    async fetch(url, options) {
      const headers = { ...options.headers, "X-CSRFToken": token(this.form), "Licet-Organization": this.words.organization };
      try {
        return await fetch(url, { ...options, headers, signal: this.abort.signal, credentials: "same-origin" });
      } catch (error) {
        if (this.abort.signal.aborted) { throw new Stopped(); }
        throw error;
      }
    }
  }

  async function watch(place) {
    const line = () => place.querySelector("[data-open]");
    let was = line()?.dataset.open;
    while (line()?.dataset.open === "yes") {
      await rest(document.hidden ? 10 : 2);
      try {
        const response = await fetch(place.dataset.poll, { credentials: "same-origin", redirect: "error" });
        if (!response.ok) { continue; }
        const made = new DOMParser().parseFromString(await response.text(), "text/html");
        const old = line(), now = made.querySelector("[data-open]");
        if (!now) { return; }
        // The line that is read aloud stays the same element: its text alone changes.
        old.replaceChildren(...now.childNodes);
        old.dataset.open = now.dataset.open;
        now.remove();
        for (const part of [...place.children]) { if (part !== old) { part.remove(); } }
        place.append(...made.body.children);
      } catch { /* no connection: the import goes on without us */ }
    }
    // What can be done now is another than before.
    if (was === "yes") { location.reload(); }
  }

  document.querySelectorAll("form[data-upload]").forEach((form) => new Sender(form));
  document.querySelectorAll("[data-poll]").forEach((place) => watch(place));
})();
