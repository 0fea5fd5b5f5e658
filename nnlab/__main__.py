from nnlab.cli.main import main

main()
