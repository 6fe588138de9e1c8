"""The lab: stand-ins for what belongs to others in production; `lab.lab` starts and stops it."""
