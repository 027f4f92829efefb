"""The SMT solver cvc5 as a program: SMT-LIB commands in, one answer after the other out.

PyPI's package is the library alone; SymCC wants an executable that it can talk to. Each command is handed to the library
as soon as its last parenthesis is there, and each answer is flushed, because the other side waits for it. The one option
that is heeded is --tlimit=MS (wall clock of each check); an answer that is late is `unknown`, which proves nothing.
"""

import sys

import cvc5


def commands(stream):
    """Complete top-level expressions, in SMT-LIB 2.6: "" quotes in strings, |…| in symbols, ; to the end of the line."""
    text, depth, inside = [], 0, None
    for line in stream:
        for char in line:
            text.append(char)
            if inside == ";":
                inside = None if char == "\n" else inside
            elif inside:
                inside = None if char == inside else inside
            elif char in '"|;':
                inside = char
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
                if depth == 0:
                    yield "".join(text)
                    text = []


def main():
    limits = [argument.split("=", 1)[1] for argument in sys.argv[1:] if argument.startswith("--tlimit=")]
    fresh = True
    solver = cvc5.Solver(cvc5.TermManager())
    parser = cvc5.InputParser(solver)
    parser.setIncrementalStringInput(cvc5.InputLanguage.SMT_LIB_2_6, "stdin")
    for text in commands(sys.stdin):
        try:
            if fresh:
                for limit in limits:
                    solver.setOption("tlimit-per", limit)
            parser.appendIncrementalStringInput(text)
            sys.stdout.write(parser.nextCommand().invoke(solver, parser.getSymbolManager()))
            # A reset forgets the options, too.
            fresh = text.strip() == "(reset)"
        except Exception as error:  # the library's errors have no common class
            sys.stdout.write('(error "{}")\n'.format(str(error).replace('"', "'").replace("\n", " ")))
        sys.stdout.flush()


main()
