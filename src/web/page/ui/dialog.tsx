/**
 * A modal dialog on the browser's own `<dialog>`: it keeps the focus, closes on Escape and gives the focus back.
 */

import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { t } from '../lib/words.js'
import { Button } from './controls.js'

export function Dialog(props: {
  title: string
  onClose: () => void
  wide?: boolean
  /** Escape and the cross do nothing: something runs or must be answered. */
  held?: boolean
  children: ComponentChildren
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const element = dialog.current!
    const before = document.activeElement
    element.showModal()
    return () => {
      element.close()
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={dialog}
      class={props.wide ? 'dialog wide' : 'dialog'}
      aria-labelledby={id}
      onCancel={event => {
        event.preventDefault()
        if (!props.held) props.onClose()
      }}
      onKeyDown={event => event.stopPropagation()}
    >
      <header>
        <h2 id={id} tabIndex={-1}>
          {props.title}
        </h2>
        {!props.held && (
          <Button bare kind="quiet" icon="close" onClick={props.onClose}>
            {t('close')}
          </Button>
        )}
      </header>
      <div class="body">{props.children}</div>
    </dialog>
  )
}
