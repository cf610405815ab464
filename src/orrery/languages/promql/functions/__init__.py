"""The functions of PromQL, one decorated def each; ``check`` and ``evaluate`` look them up."""
