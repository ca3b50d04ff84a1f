// Stamps and links in JavaScript, written from docs/wire.md alone, against C programs: stamp_echo and link_echo.
//
//     node exchange.mjs STAMP_ECHO LINK_ECHO
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { decode, encode } from "@msgpack/msgpack";
import { curveKeyPair, Dealer, Reply, Request } from "zeromq";

const [stampEcho, linkEcho] = process.argv.slice(2);
const PATIENCE = 10000;
const STAMP_MAGIC = Buffer.from([0xd7, 0x64, 0x63, 0x74, 0x78, 0x01]);
const LINK_MAGIC = Buffer.from("DCL\x01", "latin1");

// ---- section 1 ---------------------------------------------------------------------------------

function context(chain, values) {
    const names = Object.keys(values).sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1));
    return Buffer.from(encode([1, chain, names.map((name) => [name, 1, encode(values[name])])]));
}

function readContext(data) {
    const [version, chain, entries] = decode(data);
    assert.equal(version, 1);
    return { chain, values: Object.fromEntries(entries.map(([name, , value]) => [name, decode(value)])) };
}

// ---- section 2 ---------------------------------------------------------------------------------

function stamped(frames, wire) {
    return [...frames, Buffer.concat([STAMP_MAGIC, wire])];
}

// The frames of a message, and its stamp's wire form or null.
function takeStamp(message) {
    const last = message.at(-1);
    if (!last.subarray(0, 6).equals(STAMP_MAGIC)) return { frames: message, wire: null };
    return { frames: message.slice(0, -1), wire: last.subarray(6) };
}

// ---- section 3 ---------------------------------------------------------------------------------

function record({ kind, sequence = 0n, acknowledged = 0n, correlation = 0n, target = "", type = "",
                  stamp = Buffer.alloc(0), payload = Buffer.alloc(0) }) {
    const texts = [Buffer.from(target), Buffer.from(type), stamp, Buffer.from(payload)];
    const body = Buffer.concat(texts);
    const head = Buffer.alloc(40);
    head.writeUInt32BE(40 + body.length, 0);
    head.writeUInt8(kind, 4);
    head.writeBigUInt64BE(sequence, 8);
    head.writeBigUInt64BE(acknowledged, 16);
    head.writeBigUInt64BE(correlation, 24);
    head.writeUInt16BE(texts[0].length, 32);
    head.writeUInt16BE(texts[1].length, 34);
    head.writeUInt32BE(texts[2].length, 36);
    return Buffer.concat([head, body]);
}

function readFrame(frame) {
    assert.ok(frame.subarray(0, 4).equals(LINK_MAGIC));
    const records = [];
    for (let at = 4; at < frame.length;) {
        const length = frame.readUInt32BE(at);
        let from = at + 40;
        const take = (size) => frame.subarray(from, (from += size));
        const target = take(frame.readUInt16BE(at + 32)).toString();
        const type = take(frame.readUInt16BE(at + 34)).toString();
        const stamp = take(frame.readUInt32BE(at + 36));
        records.push({ kind: frame[at + 4], sequence: frame.readBigUInt64BE(at + 8),
                       correlation: frame.readBigUInt64BE(at + 24), target, type, stamp,
                       payload: frame.subarray(from, at + length) });
        at += length;
    }
    return records;
}

// ---- the other side ----------------------------------------------------------------------------

class Program {
    constructor(...command) {
        this.process = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
        this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
        this.ended = new Promise((resolve) => this.process.on("exit", resolve));
    }

    async line() {
        return (await this.lines.next()).value;
    }

    async end() {
        this.process.stdin.end();
        assert.equal(await this.ended, 0);
    }
}

const patient = { receiveTimeout: PATIENCE, sendTimeout: PATIENCE, linger: 0 };

function known(serverKey, pair) {
    return { curveServerKey: serverKey, curvePublicKey: pair.publicKey, curveSecretKey: pair.secretKey };
}

// True if the security handshake fails; false if it succeeds.
async function isKeptOut(endpoint, options) {
    const socket = new Dealer({ ...patient, ...options });
    const outcome = new Promise((resolve) => {
        for (const event of ["handshake:error:auth", "handshake:error:protocol", "handshake:error:other"])
            socket.events.on(event, () => resolve(true));
        socket.events.on("handshake", () => resolve(false));
    });
    socket.connect(endpoint);
    const kept = await outcome;
    socket.close();
    return kept;
}

const folder = mkdtempSync(join(tmpdir(), "dctx-node-"));
const pair = curveKeyPair();
writeFileSync(join(folder, "node"), `metadata\ncurve\n    public-key = "${pair.publicKey}"\n`);

// ---- stamps ------------------------------------------------------------------------------------

async function exchange(socket, frames) {
    await socket.send(frames);
    const { frames: [seen, ...rest], wire } = takeStamp(await socket.receive());
    return { seen: seen.toString(), frames: rest.map(String), wire };
}

async function talkInStamps(secured) {
    const program = secured ? new Program(stampEcho, "curve", folder) : new Program(stampEcho);
    const endpoint = await program.line(), serverKey = await program.line();
    const key = secured ? pair.publicKey : "";
    const socket = new Request({ ...patient, ...(secured ? known(serverKey, pair) : {}) });
    socket.connect(endpoint);
    const wire = context(["client", "call"], { tenant: "acme", zone: { a: [1, "two", null] }, Flag: true });
    const answer = await exchange(socket, stamped(["one", "", "three"], wire));
    assert.equal(answer.seen, `client > call|acme|2|${key}`);
    assert.deepEqual(answer.frames, ["one", "", "three"]);
    assert.deepEqual(readContext(answer.wire),
                     { chain: ["client", "call", "echo"],
                       values: { tenant: "acme", zone: { a: [1, "two", null] }, Flag: true } });
    // Equal snapshots have equal bytes, whoever writes them.
    const expected = context(["client", "call", "echo"],
                             { tenant: "acme", zone: { a: [1, "two", null] }, Flag: true });
    assert.ok(expected.equals(answer.wire));
    assert.deepEqual(await exchange(socket, ["no", "context"]),
                     { seen: `||0|${key}`, frames: ["no", "context"], wire: null });
    for (let cut = 0; cut < wire.length; cut++) {
        const { seen, frames } = await exchange(socket, stamped(["x"], wire.subarray(0, cut)));
        assert.deepEqual({ seen, frames }, { seen: `||0|${key}`, frames: ["x"] });
    }
    const looksLikeOne = Buffer.concat([STAMP_MAGIC, context(["forged"], {})]);
    await socket.send([looksLikeOne, Buffer.concat([STAMP_MAGIC, context([], {})])]);
    const back = await socket.receive();
    assert.equal(back.length, 3);
    assert.ok(back[1].equals(looksLikeOne));
    assert.ok(back[2].equals(Buffer.concat([STAMP_MAGIC, Buffer.from([0x93, 1, 0x90, 0x90])])));
    if (secured) {
        assert.equal(await isKeptOut(endpoint, known(serverKey, curveKeyPair())), true);
        assert.equal(await isKeptOut(endpoint, {}), true);
        assert.equal(await isKeptOut(endpoint, known(serverKey, pair)), false);
    }
    await exchange(socket, ["end"]);
    socket.close();
    await program.end();
}

async function serve(secured) {
    const own = curveKeyPair();
    const server = new Reply({ ...patient, ...(secured ? { curveServer: true, curvePublicKey: own.publicKey,
                                                           curveSecretKey: own.secretKey } : {}) });
    await server.bind("tcp://127.0.0.1:*");
    const program = new Program(stampEcho, "ask", server.lastEndpoint, ...(secured ? [own.publicKey] : []));
    const { frames, wire } = takeStamp(await server.receive());
    assert.deepEqual(frames.map(String), ["question"]);
    assert.deepEqual(readContext(wire), { chain: ["asker"], values: { tenant: "acme" } });
    await server.send(stamped(["an", "answer"], context(["node"], { tenant: "other", x: 1 })));
    assert.equal(await program.line(), "node|other|1");
    assert.equal(await program.line(), "an");
    assert.equal(await program.line(), "answer");
    await program.end();
    server.close();
}

// ---- the link ----------------------------------------------------------------------------------

async function talkOverALink(secured) {
    const program = secured ? new Program(linkEcho, "curve", folder) : new Program(linkEcho, "60000");
    const endpoint = await program.line(), serverKey = secured ? await program.line() : "";
    const socket = new Dealer({ ...patient, ...(secured ? known(serverKey, pair) : {}) });
    socket.connect(endpoint);
    const send = (fields) => socket.send(Buffer.concat([LINK_MAGIC, record(fields)]));
    const receive = async () => readFrame((await socket.receive())[0])[0];
    await send({ kind: 1, payload: encode({ node: "node", incarnation: 1, window: 100, to: "echo" }) });
    const welcome = await receive();
    assert.equal(welcome.kind, 2);
    assert.deepEqual(Object.keys(decode(welcome.payload)).sort(), ["incarnation", "kinds", "limit", "node", "window"]);
    await send({ kind: 17, sequence: 1n, correlation: 7n, target: "see", type: "string",
                 stamp: context(["client"], { tenant: "acme", x: 1 }), payload: encode("hello") });
    const reply = await receive();
    assert.equal(reply.kind, 18);
    assert.equal(reply.correlation, 7n);
    assert.equal(decode(reply.payload), "client|acme|1|hello");
    if (secured) {
        await send({ kind: 17, sequence: 2n, acknowledged: 1n, correlation: 8n, target: "who", type: "string",
                     payload: encode("") });
        assert.equal(decode((await receive()).payload), pair.publicKey);
    }
    await send({ kind: 6 });
    socket.close();
    await program.end();
}

try {
    for (const secured of [false, true]) {
        await talkInStamps(secured);
        await serve(secured);
        await talkOverALink(secured);
        console.log(`${secured ? "under CURVE" : "without security"}: stamps both ways, and a link`);
    }
} finally {
    rmSync(folder, { recursive: true });
}
