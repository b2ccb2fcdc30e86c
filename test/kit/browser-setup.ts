import { driverPython, labPython } from "./python.ts";

/** Makes the Python environments before the first test, so that no test's deadline has to hold their download. */
export default async (): Promise<void> => {
  await driverPython();
  await labPython();
};
