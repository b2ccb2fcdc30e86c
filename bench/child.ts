/** What a child process says first. @throws Error when it ends without a word */
export const firstLine = async (stream: NodeJS.ReadableStream): Promise<string> => {
  for await (const chunk of stream) return String(chunk).trim();
  throw new Error("it ended without a word");
};
