import { connect } from "node:net";

const CONNECTIONS = 8;

/**
 * Requests per second that a server answers to kept-alive connections, each with one request on its way. The client only counts answers
 * by their Content-Length, so that it is not what is measured.
 */
export const requestsPerSecond = async (
  port: number,
  path: string,
  headers: Readonly<Record<string, string>>,
  forMs: number,
): Promise<number> => {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${fields.join("")}\r\n`;
  const began = performance.now();
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, () => keepAsking(port, request, began + forMs)));
  return counts.reduce((sum, count) => sum + count, 0) / ((performance.now() - began) / 1000);
};

const keepAsking = (port: number, request: string, untilMs: number): Promise<number> =>
  new Promise((resolve, reject) => {
    let answered = 0;
    let received = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(request));
    socket.setNoDelay(true).setEncoding("latin1");
    socket.on("error", reject);
    socket.on("close", () => resolve(answered));
    socket.on("data", (text: string) => {
      received += text;
      const head = received.indexOf("\r\n\r\n");
      if (head < 0) return;
      if (!received.startsWith("HTTP/1.1 200")) {
        socket.destroy(new Error(received.slice(0, 300)));
        return;
      }
      const length = /content-length: (\d+)/i.exec(received.slice(0, head));
      if (received.length < head + 4 + Number(length?.[1] ?? 0)) return;
      received = "";
      answered += 1;
      if (performance.now() < untilMs) socket.write(request);
      else socket.end();
    });
  });
