// A buyer's program in TypeScript, with the generated types: from a search to a verified receipt.
import { createHash, createPublicKey, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { verifyTLogInclusion } from "@sigstore/verify/dist/tlog/index.js";
import createClient from "openapi-fetch";
import { Webhook } from "standardwebhooks";

import type { components, paths } from "./schema.d.ts";

type Schemas = components["schemas"];

const { LICET_URL = "", LICET_KEY = "", LICET_VKEY = "" } = process.env;
const market = createClient<paths>({
  baseUrl: LICET_URL,
  headers: { Authorization: `Bearer ${LICET_KEY}` },
});

/** The answer; a refusal ends the program. */
function expected<T>(answer: { data?: T; error?: Schemas["Problem"] }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

// --- webhooks: a server of our own -----------------------------------------------------------

/** Takes webhooks, and keeps the first that the market signed. */
class Inbox {
  secret = "";
  forged = "accepted";
  private resolve: (event: Schemas["Event"]) => void = () => {};
  readonly taken = new Promise<Schemas["Event"]>((resolve) => (this.resolve = resolve));
  private readonly server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces).toString("utf8");
    const headers = request.headers as Record<string, string>;
    const verifier = new Webhook(this.secret);
    try {
      verifier.verify(body.replaceAll("grt_", "grx_"), headers);
    } catch {
      this.forged = "refused";
    }
    const event = verifier.verify(body, headers) as Schemas["Event"];
    response.writeHead(200).end();
    this.resolve(event);
  });

  async open(): Promise<string> {
    await new Promise<void>((ready) => this.server.listen(0, "127.0.0.1", ready));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

// --- receipts: with Sigstore's verifier of inclusion -----------------------------------------

function entryOf(receipt: string): Buffer {
  const extra = receipt.split("\n")[1]!.replace(/^extra /, "");
  const opened = JSON.parse(Buffer.from(extra, "base64").toString("utf8")) as { entry: string };
  return Buffer.from(opened.entry, "utf8");
}

/** Whether a receipt proves that this entry stands in the market's log. */
function verdict(receipt: string, entry: Buffer): string {
  const end = receipt.indexOf("\n\n");
  const [, , index, ...proof] = receipt.slice(0, end).split("\n");
  const [name, keyId, ...rest] = LICET_VKEY.trim().split("+");
  const key = Buffer.from(rest.join("+"), "base64").subarray(1);
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), key]);
  const log = {
    logID: Buffer.from(keyId!, "hex"),
    publicKey: createPublicKey({ key: der, format: "der", type: "spki" }),
    baseURL: `https://${name}`,
    validFor: { start: new Date(0), end: new Date(8.64e15) },
  };
  const claimed = {
    logId: { keyId: log.logID },
    canonicalizedBody: entry,
    inclusionProof: {
      logIndex: index!.replace(/^index /, ""),
      hashes: proof.map((step) => Buffer.from(step, "base64")),
      checkpoint: { envelope: receipt.slice(end + 2) },
    },
  };
  try {
    verifyTLogInclusion(claimed as never, [log] as never);
    return "sound";
  } catch {
    return "refused";
  }
}

// --- the story -------------------------------------------------------------------------------

async function allListings(): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | undefined;
  for (;;) {
    const query = { limit: 2, ...(cursor && { cursor }) };
    const page = expected(await market.GET("/v1/listings", { params: { query } }));
    found.push(...page.data.map((listing) => listing.id));
    if (!page.has_more) return found;
    cursor = page.next_cursor ?? undefined;
  }
}

async function quoteFor(offer: string, use: string) {
  return market.POST("/v1/quotes", { body: { offer, uses: [use], territories: ["DE"] } });
}

/** Accept a quote. After a lost answer, the same request is sent again: it makes one order. */
async function place(quote: Schemas["Quote"]): Promise<Schemas["Order"]> {
  const { document_sha256 } = quote;
  const accept = { document_sha256, name: "Lin Chen", title: "Counsel", authority: true };
  const params = { header: { "Idempotency-Key": randomUUID() } };
  for (let attempt = 0; attempt < 3; attempt += 1) {
    let answer;
    try {
      answer = await market.POST("/v1/orders", { params, body: { quote: quote.id, accept } });
    } catch {
      continue;
    }
    return expected(answer);
  }
  throw new Error("no answer");
}

/** Wait until somebody paid the order, and its license was given. */
async function granted(id: string): Promise<Schemas["Grant"]> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const order = expected(await market.GET("/v1/orders/{id}", { params: { path: { id } } }));
    if (order.status === "granted" && order.grant !== null) {
      const path = { id: order.grant };
      return expected(await market.GET("/v1/grants/{id}", { params: { path } }));
    }
    await sleep(100);
  }
  throw new Error("not granted");
}

async function receiptOf(id: string): Promise<string> {
  const params = { path: { id }, query: { wait: 1 } };
  for (let attempt = 0; attempt < 30; attempt += 1) {
    const answer = await market.GET("/v1/grants/{id}/receipt", { params, parseAs: "text" });
    if (answer.response.status === 200) return expected(answer) as string;
  }
  throw new Error("no receipt");
}

async function refusal(offer: string) {
  const { error } = await quoteFor(offer, "\u2603");
  if (error === undefined) throw new Error("not refused");
  return { status: error.status, code: error.code, param: error.param };
}

const inbox = new Inbox();
const wanted = { url: await inbox.open(), types: ["grant.issued"] };
const endpoint = expected(await market.POST("/v1/webhook-endpoints", { body: wanted }));
inbox.secret = endpoint.secret!;

const search = { params: { query: { q: "herbarium" } } };
const found = expected(await market.GET("/v1/listings", search)).data;
const listing = found[0]!;
const order = await place(expected(await quoteFor(listing.id, "pretrain")));
const grant = await granted(order.id);
const event = await inbox.taken;
const receipt = await receiptOf(grant.id);
const entry = entryOf(receipt);
if (JSON.parse(entry.toString("utf8")).grant_ref !== grant.ledger.grant_ref) {
  throw new Error("a receipt of something else");
}
const said = {
  found: found.map((each) => each.id),
  paged: await allListings(),
  order: order.id,
  grant: grant.id,
  webhook: event.data["grant"],
  forged: inbox.forged,
  receipt: verdict(receipt, entry),
  changed_receipt: verdict(receipt, Buffer.concat([entry, Buffer.from(" ")])),
  problem: await refusal(listing.id),
};
inbox.close();
console.log(JSON.stringify(said));
