// What bulkreset is measured against: the SDK for Go, so many calls at once. Takes INPUT POOL ENDPOINT AT_ONCE.
package main

import (
	"context"
	"encoding/csv"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/config"
	cognito "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	file, err := os.Open(os.Args[1])
	must(err)
	rows, err := csv.NewReader(file).ReadAll()
	must(err)
	atOnce, err := strconv.Atoi(os.Args[4])
	must(err)
	settings, err := config.LoadDefaultConfig(context.Background())
	must(err)
	client := cognito.NewFromConfig(settings, func(options *cognito.Options) {
		options.EndpointResolver = cognito.EndpointResolverFromURL(os.Args[3])
		options.HTTPClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	})
	left := make(chan []string)
	var workers sync.WaitGroup
	for i := 0; i < atOnce; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for row := range left {
				_, err := client.AdminSetUserPassword(context.Background(), &cognito.AdminSetUserPasswordInput{
					UserPoolId: &os.Args[2], Username: &row[0], Password: &row[1], Permanent: true})
				must(err)
			}
		}()
	}
	for _, row := range rows[1:] {
		left <- row
	}
	close(left)
	workers.Wait()
}
