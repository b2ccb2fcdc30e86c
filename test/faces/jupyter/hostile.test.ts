import { once } from "node:events";
import { connect } from "node:net";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { until } from "../../kit/until.ts";
import { onStage } from "./stage.ts";

/** What no client sends, and anybody can. */

const upgrade = async (url: string, target: string): Promise<string> => {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(
    `GET ${target} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
  );
  let answer = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    answer += text;
  });
  await once(socket, "close", { signal: AbortSignal.timeout(10_000) });
  return answer;
};

test.each([
  ["//", 400],
  ["http://[", 400],
  ["//a:b:c/api/kernels/x/channels", 400],
  ["/api/kernels/%zz/channels", 400],
  ["*", 404],
])("a WebSocket at %s is refused, and the server lives", (target, status) =>
  onStage(async ({ url, open }) => {
    expect(await upgrade(url, target)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    const channels = await open();
    await channels.idle(channels.send("shell", "kernel_info_request", {}));
  }),
);

test("a message that is nested too deeply is let pass, and the server lives", () =>
  onStage(async ({ open }) => {
    const deep = `${"[".repeat(6_000)}${"]".repeat(6_000)}`;
    const channels = await open();
    for (const part of ["header", "metadata", "content"]) {
      const parts: Record<string, string> = { header: '{"msg_id":"1","msg_type":"comm_msg"', metadata: "{", content: '{"comm_id":"c"' };
      const text = Object.entries(parts).map(([name, start]) => {
        const more = name === part ? `${start.length > 1 ? "," : ""}"data":{"x":${deep}}` : "";
        return `"${name}":${start}${more}}`;
      });
      channels.socket.send(`{"channel":"shell","parent_header":{},"buffers":[],${text.join(",")}}`);
    }
    await channels.idle(channels.send("shell", "kernel_info_request", {}));
    expect(channels.closed).toBeNull();
  }));

test("who is refused a WebSocket and does not hang up is let go of", () =>
  onStage(async ({ service, url }) => {
    const { port } = new URL(url);
    const socket = connect({ port: Number(port), host: "127.0.0.1", allowHalfOpen: true });
    socket.write("GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.resume();
    await once(socket, "end", { signal: AbortSignal.timeout(10_000) });
    const { server } = service.http.app;
    await until("nothing is left of it", 5_000, async () =>
      (await promisify(server.getConnections.bind(server))()) === 0 ? true : undefined,
    );
    socket.destroy();
  }));

test("a driver that says times which are none is not listened to, and the server lives", () =>
  onStage(async ({ service, driver, open }) => {
    const channels = await open();
    const statement = { statement: 7, atMs: 8.9e15 };
    driver.emit("queued", { ...statement, key: "k", code: "1", kind: "pyspark", origin: null, silent: false });
    driver.emit("started", { ...statement, count: 1 });
    const [session] = service.sessions.list({ name: null, remote: null });
    await service.until(() => session?.state === "error" || session?.running !== undefined);
    await channels.idle(channels.send("shell", "kernel_info_request", {}));
    expect((await service.ask("GET", "/api/status")).status).toBe(200);
    expect(session?.state).toBe("error");
  }));

const DEEP = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;

test("an output that is nested too deeply is said to be, and what follows is shown", () =>
  onStage(async ({ service, driver, open }) => {
    const channels = await open();
    driver.emit("queued", { statement: 0, key: "k", code: "1", kind: "pyspark", origin: null, silent: false });
    driver.emit("started", { statement: 0, count: 1 });
    // As text: what is so deep cannot be written by JSON.stringify.
    const say = (type: string, seq: number, fields: string) =>
      driver.connection.channel.send(`{"frame":"record","type":"${type}","seq":${seq},"atMs":0,"statement":0,${fields}}`, "bulk");
    const seq = driver.lastSeq;
    say("display", seq + 1, `"data":{"a":${DEEP}},"metadata":{},"displayId":null,"update":false`);
    say("finished", seq + 2, '"outcome":"ok","rung":null');
    const [session] = service.sessions.list({ name: null, remote: null });
    await service.until(() => session?.state === "idle" && session.peek(0)?.outcome === "ok");
    expect(JSON.stringify((await service.ask("GET", "/sessions/0/statements/0")).body)).toContain("nested too deeply");
    await channels.idle(channels.send("shell", "kernel_info_request", {}));
    expect(session?.up).toBe(true);
  }));
