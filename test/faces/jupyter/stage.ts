import { Channels, type ChannelsOptions } from "../../kit/channels.ts";
import type { FakeDriver } from "../../kit/fake-driver.ts";
import { Service, type ServiceOptions } from "../service.ts";

export interface Stage {
  readonly service: Service;
  readonly driver: FakeDriver;
  readonly url: string;
  readonly kernel: string;
  readonly open: (options?: ChannelsOptions) => Promise<Channels>;
}

/** A kernel whose driver is ready and does only what the test says. */
export const onStage = async (use: (stage: Stage) => Promise<void>, options: ServiceOptions = {}): Promise<void> => {
  await using service = await Service.start(options);
  const { id, driver } = await service.ready();
  const { body } = await service.ask("POST", "/api/kernels", { body: { longwick: { session: id } } });
  const kernel = (body as { id: string }).id;
  const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
  const opened: Channels[] = [];
  const open = async (more: ChannelsOptions = {}) => {
    const channels = await Channels.open(url, kernel, more);
    opened.push(channels);
    return channels;
  };
  try {
    await use({ service, driver, url, kernel, open });
  } finally {
    for (const channels of opened) channels.close();
  }
};

/** The driver runs what was asked last: it starts, writes these texts and, when `end` says so, finishes. */
export const run = (driver: FakeDriver, statement: number, texts: readonly string[], end = true): void => {
  driver.emit("started", { statement, count: statement + 1 });
  for (const text of texts) driver.emit("stream", { statement, name: "stdout", via: "python", text });
  if (end) driver.emit("finished", { statement, outcome: "ok", rung: null });
};

/** How many statements the driver was asked to run. */
export const cells = (driver: FakeDriver): number => driver.requests.filter(({ frame }) => frame === "cell").length;

/** A driver that was starting is ready, and takes one cell. */
export const comeUp = (driver: FakeDriver): void => {
  driver.on("cell", ({ key, code, kind, origin, silent }) => {
    driver.emit("queued", { statement: 0, key, code, kind, origin, silent });
    return { result: { statement: 0 } };
  });
  driver.listening = true;
  driver.emit("interpreter", { phase: "ready", reason: null, facts: null });
};
