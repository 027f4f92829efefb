/** Text files become strings when bundled. */
declare module '*.txt' {
  const text: string
  export default text
}
