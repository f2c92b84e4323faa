// Verifies receipts with Sigstore's own verifier of inclusion (npm: @sigstore/verify). Reads one
// JSON object from standard input and writes, for each receipt in it, "" where it is accepted or
// the reason why it is not.
'use strict';

const crypto = require('node:crypto');
const { createRequire } = require('node:module');

// The packages are installed outside of the sources: the first argument says where.
const load = createRequire(process.argv[2] + '/');
const { verifyTLogInclusion } = load('@sigstore/verify/dist/tlog/index.js');

const { vkey, receipts } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const [name, keyId, ...rest] = vkey.split('+');
const raw = Buffer.from(rest.join('+'), 'base64').subarray(1);
const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
const log = {
  logID: Buffer.from(keyId, 'hex'),
  publicKey: crypto.createPublicKey({ key: der, format: 'der', type: 'spki' }),
  baseURL: `https://${name}`,
  validFor: { start: new Date(0), end: new Date(8.64e15) },
};

const answers = receipts.map(({ note, entry, index, proof }) => {
  const claimed = {
    logId: { keyId: log.logID },
    canonicalizedBody: Buffer.from(entry, 'base64'),
    inclusionProof: {
      logIndex: String(index),
      hashes: proof.map((step) => Buffer.from(step, 'base64')),
      checkpoint: { envelope: note },
    },
  };
  try {
    verifyTLogInclusion(claimed, [log]);
    return '';
  } catch (error) {
    return String(error.message) || error.name;
  }
});
process.stdout.write(JSON.stringify({ receipts: answers }));
