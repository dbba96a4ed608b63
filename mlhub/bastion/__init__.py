"""The ssh door: which key may enter what now, who is in, and the program that runs sshd."""
