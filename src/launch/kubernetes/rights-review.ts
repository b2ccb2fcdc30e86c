import type { Api } from "./api.ts";
import type { Right } from "./rights.ts";

/** The namespaces that rights are in. */
export type RightPlaces = Readonly<Record<Right["where"], string>>;

interface Review {
  readonly status?: { readonly allowed?: boolean };
}

/** Whether an account may do one thing, in the words of a SubjectAccessReview's `resourceAttributes`. */
export type Allowed = (resourceAttributes: object) => Promise<boolean>;

/** Of the account that asks, which everybody may. */
export const ownAccount =
  (api: Api, signal: () => AbortSignal): Allowed =>
  async (resourceAttributes) => {
    const review = { spec: { resourceAttributes } };
    return (await api.create<Review>("apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, signal())).status?.allowed === true;
  };

/** Of another account (`spec` names it), which few may. */
export const otherAccount =
  (api: Api, spec: object, signal: () => AbortSignal): Allowed =>
  async (resourceAttributes) => {
    const review = { spec: { ...spec, resourceAttributes } };
    return (await api.create<Review>("apis/authorization.k8s.io/v1/subjectaccessreviews", review, signal())).status?.allowed === true;
  };

/** The rights that are not all allowed, with the verbs that are not, as a person would say them. */
export const lackingRights = async (places: RightPlaces, rights: readonly Right[], allowed: Allowed): Promise<readonly string[]> => {
  const lacking = rights.map(async ({ where, group = "", resource, verbs }) => {
    const [name, subresource] = resource.split("/");
    const attributes = { namespace: places[where], group, resource: name, ...(subresource === undefined ? {} : { subresource }) };
    const refused = await Promise.all(verbs.map(async (verb) => ((await allowed({ ...attributes, verb })) ? [] : [verb])));
    return refused.flat().length === 0 ? [] : [`${refused.flat().join("/")} ${resource} in ${places[where]}`];
  });
  return (await Promise.all(lacking)).flat();
};
