/**
 * The frame of a page of text: heading that takes the focus, introduction, actions; and tables that scroll by
 * themselves.
 */

import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'

export function Page(props: {
  title: string
  text?: string | undefined
  actions?: ComponentChildren
  children: ComponentChildren
}) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${props.title} · Peri`
  }, [props.title])
  useEffect(() => heading.current?.focus(), [])
  return (
    <div class="page stack">
      <header class="row apart page-head">
        <div>
          <h1 ref={heading} tabIndex={-1}>
            {props.title}
          </h1>
          {props.text && <p class="hint">{props.text}</p>}
        </div>
        {props.actions && <div class="row">{props.actions}</div>}
      </header>
      {props.children}
    </div>
  )
}

export const Section = (props: { title: string; actions?: ComponentChildren; children: ComponentChildren }) => (
  <section class="section" aria-label={props.title}>
    <header class="row apart">
      <h2>{props.title}</h2>
      {props.actions}
    </header>
    {props.children}
  </section>
)

/** A table; on a narrow screen each row becomes a card, with the column's name before each value. */
export function Table(props: {
  label: string
  head: readonly string[]
  rows: readonly { readonly key: string; readonly class?: string; readonly cells: readonly ComponentChildren[] }[]
}) {
  return (
    <table class="table" aria-label={props.label}>
      <thead>
        <tr>
          {props.head.map(name => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map(row => (
          <tr key={row.key} class={row.class}>
            {row.cells.map((cell, at) =>
              at === 0 ? (
                <th key={at} scope="row" data-head={props.head[at]}>
                  <div>{cell}</div>
                </th>
              ) : (
                <td key={at} data-head={props.head[at]}>
                  <div>{cell}</div>
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  )
}

export const Facts = ({ facts }: { facts: readonly (readonly [string, ComponentChildren] | undefined | false)[] }) => (
  <dl class="facts">
    {facts
      .filter(fact => fact !== undefined && fact !== false)
      .map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
  </dl>
)
