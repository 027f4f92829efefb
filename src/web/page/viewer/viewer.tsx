/** Wall or stage: what viewers, externals and technicians have. The address says which, never what is looked at. */

import { useEffect } from 'preact/hooks'
import { useHouse } from '../lib/hooks.js'
import { go, replace, useRoute } from '../lib/route.js'
import { useStore } from '../lib/store.js'
import { Stage } from './stage.js'
import { past, view } from './view.js'
import { visible, Wall } from './wall.js'

export function Viewer() {
  const house = useHouse()
  const route = useRoute()
  const { cameras } = useStore(view)
  const there = cameras.some(id => house.cameras.some(camera => camera.id === id && visible(camera)))
  const staged = route === 'see' && there
  useEffect(() => {
    // After a reload nothing is known of what was open.
    if (route === 'see' && !there) replace('wall')
  }, [route, there])
  useEffect(() => {
    if (route === 'wall') view.set({ cameras: [], mode: 'live' })
  }, [route])
  if (staged) return <Stage onBack={() => go('wall')} />
  return (
    <Wall
      onOpen={(chosen, at) => {
        view.set({
          cameras: chosen,
          focus: chosen[0] ?? '',
          mode: 'live',
          from: Date.now() - view.value.span * 0.94,
          markIn: undefined,
          markOut: undefined,
        })
        if (at !== undefined) past(at, true)
        go('see')
      }}
    />
  )
}
