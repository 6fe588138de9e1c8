"""What tells of a run to people and machines: the document, its pages and pictures, JUnit, metrics, summary."""
